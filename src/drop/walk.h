/* Lists the files below a folder; for this floor only. */
#ifndef KW_DROP_WALK_H
#define KW_DROP_WALK_H

#include "drop/drop.h"

struct kw_walk_limits {
    size_t entries; /* files, folders and whatever else, in all */
    size_t depth;   /* of folders below the first */
};

/* Paths are owned by the list. A zeroed struct is an empty list. */
struct kw_file_list {
    struct kw_drop_file *items;
    size_t count;
    size_t capacity;
};
void kw_file_list_cleanup(struct kw_file_list *list);

/* Adds every regular file below `dirfd`, in no order, and to `warnings` what is left out. More than
 * the limits is KW_DROP, a folder that can't be listed is KW_READ; *list is for cleanup then. */
enum kw_status kw_walk(int dirfd, const struct kw_walk_limits *limits, struct kw_file_list *list,
                       struct kw_strings *warnings, struct kw_error *err);

#endif
