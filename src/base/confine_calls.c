/* Confinement: which system calls are refused, by seccomp. Modules of HSMs are code that nobody
 * here knows, so what is refused is listed, and not what is allowed. A refused call fails with
 * EPERM: a module that needs it then says so, where a killed process would not. */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/confine.h"

#define CALL(name) SCMP_SYS(name)

/* Other processes' memory, the kernel's own workings, other users' rights, and ways around the
 * rules for paths. */
static const int never[] = {
    CALL(acct),
    CALL(add_key),
    CALL(adjtimex),
    CALL(bpf),
    CALL(capset),
    CALL(chroot),
    CALL(clock_adjtime),
    CALL(clock_settime),
    CALL(delete_module),
    CALL(fanotify_init),
    CALL(finit_module),
    CALL(fsconfig),
    CALL(fsmount),
    CALL(fsopen),
    CALL(fspick),
    CALL(init_module),
    CALL(io_uring_enter),
    CALL(io_uring_register),
    CALL(io_uring_setup),
    CALL(ioperm),
    CALL(iopl),
    CALL(kcmp),
    CALL(kexec_file_load),
    CALL(kexec_load),
    CALL(keyctl),
    CALL(listen),
    CALL(modify_ldt),
    CALL(mount),
    CALL(mount_setattr),
    CALL(move_mount),
    CALL(open_by_handle_at),
    CALL(open_tree),
    CALL(perf_event_open),
    CALL(pidfd_getfd),
    CALL(pivot_root),
    CALL(process_madvise),
    CALL(process_vm_readv),
    CALL(process_vm_writev),
    CALL(quotactl),
    CALL(reboot),
    CALL(request_key),
    CALL(setdomainname),
    CALL(setfsgid),
    CALL(setfsuid),
    CALL(setgid),
    CALL(setgroups),
    CALL(sethostname),
    CALL(setns),
    CALL(setregid),
    CALL(setresgid),
    CALL(setresuid),
    CALL(setreuid),
    CALL(settimeofday),
    CALL(setuid),
    CALL(swapoff),
    CALL(swapon),
    CALL(syslog),
    CALL(umount2),
    CALL(unshare),
    CALL(userfaultfd),
};

static const int to_start_programs[] = {CALL(execve), CALL(execveat), CALL(fork), CALL(vfork)};

/* clone takes its flags in another place there. */
#if defined(__s390__) || defined(__s390x__)
#define CLONE_FLAGS 1
#else
#define CLONE_FLAGS 0
#endif

/* Families of sockets; those with a higher number are refused without being listed. */
#define FAMILIES 64

static int refuse(scmp_filter_ctx filter, const int *calls, size_t count)
{
    int failed = 0;
    for (size_t i = 0; i < count && !failed; i++)
        failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), calls[i], 0);
    return failed;
}

/* Threads are clone with CLONE_THREAD. The flags of clone3 are in memory, where a filter can't
 * look; the C library takes clone where that one is missing. */
static int refuse_programs(scmp_filter_ctx filter)
{
    int failed = refuse(filter, to_start_programs, KW_COUNT(to_start_programs));
    if (!failed)
        failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), CALL(clone3), 0);
    if (failed || KW_LEAK_CHECK)
        return failed;
    return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), CALL(clone), 1,
                            SCMP_CMP(CLONE_FLAGS, SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
}

/* Names are looked up by way of AF_NETLINK too. */
static bool is_family_of(enum kw_network network, uint64_t family)
{
    static const struct {
        uint64_t family;
        enum kw_network from;
    } families[] = {{AF_UNIX, KW_NETWORK_UNIX},
                    {AF_INET, KW_NETWORK_TCP},
                    {AF_INET6, KW_NETWORK_TCP},
                    {AF_NETLINK, KW_NETWORK_TCP}};
    for (size_t i = 0; i < KW_COUNT(families); i++)
        if (families[i].family == family)
            return network >= families[i].from;
    return false;
}

static int refuse_sockets(scmp_filter_ctx filter, enum kw_network network)
{
    struct scmp_arg_cmp is = {.arg = 0, .op = SCMP_CMP_GE, .datum_a = FAMILIES};
    int failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), CALL(socket), 1, is);
    is.op = SCMP_CMP_EQ;
    for (is.datum_a = 0; is.datum_a < FAMILIES && !failed; is.datum_a++)
        if (!is_family_of(network, is.datum_a))
            failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), CALL(socket), 1, is);
    return failed;
}

/* Typing on the terminal for whoever reads it next; the kernel looks at 32 bits of the request. */
static int refuse_typing(scmp_filter_ctx filter)
{
    static const uint64_t requests[] = {TIOCSTI, TIOCLINUX};
    int failed = 0;
    for (size_t i = 0; i < KW_COUNT(requests) && !failed; i++)
        failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), CALL(ioctl), 1,
                                  SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, requests[i]));
    return failed;
}

static int fill(scmp_filter_ctx filter, const struct kw_confinement *confinement)
{
    const int trace = CALL(ptrace);
    int failed = refuse(filter, never, KW_COUNT(never));
    if (!failed && !KW_LEAK_CHECK)
        failed = refuse(filter, &trace, 1);
    if (!failed && !confinement->exec)
        failed = refuse_programs(filter);
    if (!failed)
        failed = refuse_sockets(filter, confinement->network);
    if (!failed)
        failed = refuse_typing(filter);
    /* The filter runs at every call: as a tree of comparisons. */
    if (!failed)
        failed = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    /* For other threads too, such as a sanitizer's; a kernel that can't do that does without. */
    (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    return failed;
}

enum kw_status kw_confine_calls(const struct kw_confinement *confinement, bool *ret_done,
                                struct kw_error *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter)
        return kw_fail_memory(err);
    int failed = fill(filter, confinement);
    enum kw_status status =
        failed ? kw_fail_errno(err, KW_FAULT, -failed, "seccomp takes no rule") : KW_OK;
    if (!status) {
        int refused = seccomp_load(filter);
        *ret_done = refused == 0;
        if (refused == -ENOMEM)
            status = kw_fail_memory(err);
    }
    seccomp_release(filter);
    return status;
}
