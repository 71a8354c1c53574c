/* A scratch folder for each test, with a folder "drop" in it. */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "drop/drop.h"

/* The test works in the scratch folder, so that paths are short. */
int scratch_set_up(void **state);
int scratch_tear_down(void **state);
#define SCRATCH_TEST(function)                                                                     \
    cmocka_unit_test_setup_teardown(function, scratch_set_up, scratch_tear_down)

/* A file that holds `text`, and the folders on the way. */
void scratch_file(const char *path, const char *text);
void scratch_socket(const char *path);
/* A file, or a folder with all that is in it; -1 where there is none. */
int scratch_remove(const char *path);

/* Opens "drop". */
struct kw_drop *scratch_open(void);
/* kw_drop_open gives `status` with a message that has `says` in it. */
void scratch_assert_refused(const char *path, enum kw_status status, const char *says);
bool scratch_has_warning(const struct kw_drop *drop, const char *name, const char *what);
/* How many are open, to find those that are left open. */
size_t scratch_descriptors(void);

#endif
