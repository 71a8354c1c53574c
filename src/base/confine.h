/* confine: what confine.c and confine_calls.c share. */
#ifndef KW_CONFINE_H
#define KW_CONFINE_H

#include "base/base.h"

/* The leak check of AddressSanitizer stops the threads by a process that traces them. */
#if defined(__SANITIZE_ADDRESS__)
#define KW_LEAK_CHECK true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KW_LEAK_CHECK true
#endif
#endif
#ifndef KW_LEAK_CHECK
#define KW_LEAK_CHECK false
#endif

/* By seccomp; the process must have no new privileges. *ret_done is false where the kernel has no
 * seccomp. */
enum kw_status kw_confine_calls(const struct kw_confinement *confinement, bool *ret_done,
                                struct kw_error *err);

#endif
