/* Which failures pass by themselves. */
#include <errno.h>

#include "internal.h"

/* Of disks and networks. A full disk, a missing permission or damaged data stay what they are. */
static const int transient[] = {EIO,          EAGAIN,     EBUSY,        ETIMEDOUT, ESTALE,
                                ENOBUFS,      ENETDOWN,   ENETUNREACH,  ENETRESET, ECONNABORTED,
                                ECONNREFUSED, ECONNRESET, EHOSTUNREACH, EHOSTDOWN, EREMOTEIO,
                                ENOTCONN,     EINTR};

bool kw_is_transient(const struct kw_error *error)
{
    if (error->status != KW_READ && error->status != KW_WRITE)
        return false;
    for (size_t i = 0; i < KW_COUNT(transient); i++)
        if (error->sys_errno == transient[i])
            return true;
    return false;
}
