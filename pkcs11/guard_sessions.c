/* The numbers under which sessions are known outside of the guard: in ascending order, as each is
 * greater than all before it. */
#include <stdlib.h>
#include <string.h>

#include "guard.h"

#define FIRST_ROOM 16

bool kw_sessions_reserve(struct kw_sessions *sessions, size_t more)
{
    size_t room = sessions->room ? sessions->room : FIRST_ROOM;
    while (room - sessions->count < more)
        room *= 2;
    if (room == sessions->room)
        return true;
    struct kw_session_number *grown = reallocarray(sessions->items, room, sizeof(*grown));
    if (!grown)
        return false;
    sessions->items = grown;
    sessions->room = room;
    return true;
}

CK_SESSION_HANDLE kw_sessions_add(struct kw_sessions *sessions, CK_SESSION_HANDLE handle)
{
    sessions->items[sessions->count++] =
        (struct kw_session_number){.number = ++sessions->last, .handle = handle};
    return sessions->last;
}

static struct kw_session_number *find(const struct kw_sessions *sessions, CK_SESSION_HANDLE number)
{
    size_t low = 0, high = sessions->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (sessions->items[middle].number == number)
            return &sessions->items[middle];
        if (sessions->items[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

bool kw_sessions_find(const struct kw_sessions *sessions, CK_SESSION_HANDLE number,
                      CK_SESSION_HANDLE *ret_handle)
{
    const struct kw_session_number *item = find(sessions, number);
    if (item)
        *ret_handle = item->handle;
    return item;
}

void kw_sessions_remove(struct kw_sessions *sessions, CK_SESSION_HANDLE number)
{
    struct kw_session_number *item = find(sessions, number);
    if (!item)
        return;
    const struct kw_session_number *end = sessions->items + sessions->count--;
    memmove(item, item + 1, (size_t)(end - item - 1) * sizeof(*item));
}

void kw_sessions_void(struct kw_sessions *sessions)
{
    sessions->count = 0;
}

void kw_sessions_cleanup(struct kw_sessions *sessions)
{
    free(sessions->items);
    memset(sessions, 0, sizeof(*sessions));
}
