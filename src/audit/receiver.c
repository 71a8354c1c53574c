/* receiver: waiting for what may never come. */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "audit/forward.h"

/* poll takes an int. */
#define LONGEST_MS 1000000

enum kw_status kw_waiter_init(struct kw_waiter *waiter, struct kw_error *err)
{
    atomic_init(&waiter->deadline_ms, KW_NO_DEADLINE);
    waiter->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return waiter->wake >= 0 ? KW_OK
                             : kw_fail_errno(err, KW_AUDIT, errno,
                                             "records of the audit trail can't be forwarded");
}

void kw_waiter_cleanup(struct kw_waiter *waiter)
{
    kw_close(&waiter->wake);
}

void kw_waiter_set_deadline(struct kw_waiter *waiter, uint64_t deadline_ms)
{
    atomic_store(&waiter->deadline_ms, deadline_ms);
    (void)eventfd_write(waiter->wake, 1); /* fails only where it is readable already */
}

bool kw_wait_for(struct kw_waiter *waiter, int fd, short events, uint64_t limit_ms)
{
    uint64_t until = kw_now_ms() + limit_ms;
    for (;;) {
        uint64_t deadline = atomic_load(&waiter->deadline_ms);
        uint64_t now = kw_now_ms();
        uint64_t end = deadline < until ? deadline : until;
        struct pollfd fds[] = {{.fd = fd, .events = events},
                               {.fd = waiter->wake, .events = POLLIN}};
        if (end <= now)
            return false;
        uint64_t left = end - now < LONGEST_MS ? end - now : LONGEST_MS;
        /* Once there is a deadline, there is nothing more to be woken for. */
        int ready = poll(fds, deadline == KW_NO_DEADLINE ? 2 : 1, (int)left);
        if (ready > 0 && fds[0].revents != 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return false;
    }
}
