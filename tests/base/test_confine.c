/* Confinement: each attempt is made in a child of its own, first free and then confined. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/confine.h"
#include "base_test.h"

/* The working directory: in/file  out/link -> ../beside/file  put/file  beside/file  service */
static char root[] = "/tmp/keyward-base-confine-XXXXXX";
static char abstract[64];
static struct sockaddr_in tcp;
static int kept = -1; /* beside/file, open already */

/* What is tried: 0, or the errno. */
typedef int (*attempt)(void);

static int error_of(long result)
{
    return result < 0 ? errno : 0;
}

static int opened(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    int failed = error_of(fd);
    kw_close(&fd);
    return failed;
}

/* ---- files ---- */

static int reads_inside(void)
{
    return opened("in/file", O_RDONLY);
}
static int lists_inside(void)
{
    return opened("in", O_RDONLY | O_DIRECTORY);
}
static int writes_what_it_may_read(void)
{
    return opened("in/file", O_WRONLY);
}
static int reads_beside(void)
{
    return opened("beside/file", O_RDONLY);
}
static int reads_upward(void)
{
    return opened("in/../beside/file", O_RDONLY);
}
static int reads_by_a_link(void)
{
    return opened("out/link", O_RDONLY);
}
static int lists_beside(void)
{
    return opened("beside", O_RDONLY | O_DIRECTORY);
}
static int makes_beside(void)
{
    return opened("beside/new", O_WRONLY | O_CREAT | O_EXCL) || unlink("beside/new") ? errno : 0;
}
static int removes_beside(void)
{
    return unlink("beside/file") ? errno : 0;
}
static int makes_a_folder_beside(void)
{
    return mkdir("beside/folder", 0700) || rmdir("beside/folder") ? errno : 0;
}
static int cuts_beside(void)
{
    return error_of(truncate("beside/file", 0));
}
static int makes_a_link_in_output(void)
{
    return symlink("/etc", "out/etc") || unlink("out/etc") ? errno : 0;
}
static int moves_out_of_output(void)
{
    return opened("out/moved", O_WRONLY | O_CREAT) || rename("out/moved", "beside/moved") ||
                   unlink("beside/moved")
               ? errno
               : 0;
}
static int fills_output(void)
{
    char self[64];
    int fd = open("out", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    return write(fd, "x", 1) != 1 || linkat(AT_FDCWD, self, AT_FDCWD, "out/a", AT_SYMLINK_FOLLOW) ||
                   mkdir("out/sub", 0700) || rename("out/a", "out/b") ||
                   opened("out/b", O_RDWR | O_TRUNC) || unlink("out/b") || rmdir("out/sub")
               ? errno
               : 0;
}
static int puts_a_file(void)
{
    return opened("put/.new", O_WRONLY | O_CREAT | O_EXCL) || rename("put/.new", "put/new") ||
                   unlink("put/new")
               ? errno
               : 0;
}
static int reads_where_it_may_put(void)
{
    return opened("put/file", O_RDONLY);
}
static int removes_an_empty_folder(void)
{
    return rmdir("leave/empty") ? errno : 0;
}
static int reads_what_was_open(void)
{
    char byte;
    return error_of(pread(kept, &byte, 1, 0));
}
static int uses_dev_null(void)
{
    return opened("/dev/null", O_RDWR);
}

/* ---- sockets ---- */

static int connects(int family, const void *address, size_t len)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int failed = fd < 0 || connect(fd, address, (socklen_t)len) != 0 ? errno : 0;
    kw_close(&fd);
    return failed;
}
static int connects_by_tcp(void)
{
    return connects(AF_INET, &tcp, sizeof(tcp));
}
static int connects_to_a_service(void)
{
    const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "service"};
    return connects(AF_UNIX, &address, sizeof(address));
}
static int connects_without_a_path(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path + 1, abstract, strlen(abstract));
    return connects(AF_UNIX, &address,
                    offsetof(struct sockaddr_un, sun_path) + 1 + strlen(abstract));
}
static int makes_an_odd_socket(void)
{
    int fd = socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int failed = error_of(fd);
    kw_close(&fd);
    return failed;
}
/* The kernel looks at 32 bits of the family. */
static int hides_the_family(void)
{
    int fd = (int)syscall(SYS_socket, 0x700000000 | AF_INET, SOCK_STREAM, 0);
    int failed = error_of(fd);
    kw_close(&fd);
    return failed;
}
static int serves_by_tcp(void)
{
    const struct sockaddr_in any = {.sin_family = AF_INET,
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int failed =
        fd < 0 || bind(fd, (const struct sockaddr *)&any, sizeof(any)) != 0 || listen(fd, 1) != 0
            ? errno
            : 0;
    kw_close(&fd);
    return failed;
}
static int listens_unbound(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int failed = fd < 0 || listen(fd, 1) != 0 ? errno : 0;
    kw_close(&fd);
    return failed;
}

/* ---- processes ---- */

static int runs_a_program(void)
{
    char *const arguments[] = {"true", NULL}, *const environment[] = {NULL};
    return execve("/bin/true", arguments, environment) ? errno : 0;
}
static int forks(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    return error_of(child);
}
static void *do_nothing(void *argument)
{
    return argument;
}
static int starts_a_thread(void)
{
    pthread_t thread;
    int failed = pthread_create(&thread, NULL, do_nothing, NULL);
    return failed ? failed : pthread_join(thread, NULL);
}
static void *read_beside(void *argument)
{
    *(int *)argument = reads_beside();
    return NULL;
}
static int reads_beside_by_a_thread(void)
{
    pthread_t thread;
    int failed = 0;
    if (pthread_create(&thread, NULL, read_beside, &failed) || pthread_join(thread, NULL))
        return ECHILD;
    return failed;
}
static int is_traced(void)
{
    return error_of(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}
static int reads_anothers_memory(void)
{
    static char here;
    const struct iovec to = {&here, 1}, from = {&here, 1};
    return error_of(process_vm_readv(getppid(), &to, 1, &from, 1, 0));
}
static int signals_another(void)
{
    return error_of(kill(getppid(), 0));
}
static int changes_its_root(void)
{
    return error_of(chroot("in"));
}
static int becomes_another(void)
{
    return error_of(setresuid(1, 1, 1));
}
static int leaves_its_namespace(void)
{
    return error_of(unshare(CLONE_NEWNS));
}
static int types_on_a_terminal(void)
{
    int fd = posix_openpt(O_RDWR | O_NOCTTY);
    return error_of(ioctl(fd, TIOCSTI, "x"));
}
static int may_gain_privileges(void)
{
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0 ? 0 : EPERM;
}

/* ---- trying ---- */

static void fill(struct kw_confinement *confinement)
{
    static const struct {
        const char *path;
        enum kw_may access;
    } places[] = {
        {"in", KW_MAY_READ},       {"out", KW_MAY_WRITE},
        {"put", KW_MAY_PUT},       {"leave", KW_MAY_REMOVE_FOLDERS},
        {"missing", KW_MAY_WRITE}, {"/dev/null", KW_MAY_WRITE},
        {"/usr", KW_MAY_READ},     {"/lib", KW_MAY_READ},
        {"/lib64", KW_MAY_READ},   {"/dev/ptmx", KW_MAY_WRITE},
    };
    struct kw_error err;
    for (size_t i = 0; i < KW_COUNT(places); i++)
        assert_ok(kw_confine_allow(confinement, places[i].path, places[i].access, &err));
}

#define CONFINING_FAILED 250

/* In a child; NULL: not confined. */
static int outcome(attempt try, const struct kw_confinement *confinement)
{
    const char *lacking = "?";
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (confinement && (kw_confine(confinement, &lacking, NULL) != KW_OK || lacking))
            _exit(CONFINING_FAILED);
        _exit(try());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static long abi(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, (size_t)0,
                   (unsigned)LANDLOCK_CREATE_RULESET_VERSION);
}

enum { ALWAYS = 1, WITH_TRUNCATE = 3, WITH_NET = 4, WITH_SCOPES = 6 };

struct trial {
    const char *name;
    attempt try;
    int expected[3]; /* with no network, with sockets of this machine, with TCP */
    int since;       /* the ABI of Landlock */
    bool root;       /* else it fails anyway */
};
#define SAME(code)                                                                                 \
    {                                                                                              \
        code, code, code                                                                           \
    }
#define TRIAL(name, ...)                                                                           \
    {                                                                                              \
#name, name, __VA_ARGS__                                                                   \
    }

static const struct trial trials[] = {
    TRIAL(reads_inside, SAME(0), ALWAYS, false),
    TRIAL(lists_inside, SAME(0), ALWAYS, false),
    TRIAL(fills_output, SAME(0), ALWAYS, false),
    TRIAL(puts_a_file, SAME(0), ALWAYS, false),
    TRIAL(reads_what_was_open, SAME(0), ALWAYS, false),
    TRIAL(uses_dev_null, SAME(0), ALWAYS, false),
    TRIAL(starts_a_thread, SAME(0), ALWAYS, false),
    TRIAL(writes_what_it_may_read, SAME(EACCES), ALWAYS, false),
    TRIAL(reads_where_it_may_put, SAME(EACCES), ALWAYS, false),
    TRIAL(reads_beside, SAME(EACCES), ALWAYS, false),
    TRIAL(reads_beside_by_a_thread, SAME(EACCES), ALWAYS, false),
    TRIAL(reads_upward, SAME(EACCES), ALWAYS, false),
    TRIAL(reads_by_a_link, SAME(EACCES), ALWAYS, false),
    TRIAL(lists_beside, SAME(EACCES), ALWAYS, false),
    TRIAL(makes_beside, SAME(EACCES), ALWAYS, false),
    TRIAL(makes_a_folder_beside, SAME(EACCES), ALWAYS, false),
    TRIAL(makes_a_link_in_output, SAME(EACCES), ALWAYS, false),
    TRIAL(moves_out_of_output, SAME(EACCES), ALWAYS, false),
    TRIAL(cuts_beside, SAME(EACCES), WITH_TRUNCATE, false),
    TRIAL(connects_to_a_service, {EPERM, 0, 0}, ALWAYS, false),
    TRIAL(connects_without_a_path, {EPERM, 0, 0}, ALWAYS, false),
    TRIAL(connects_by_tcp, {EPERM, EPERM, 0}, ALWAYS, false),
    TRIAL(hides_the_family, SAME(EPERM), ALWAYS, false),
    TRIAL(listens_unbound, SAME(EPERM), ALWAYS, false),
    TRIAL(serves_by_tcp, {EPERM, EPERM, EACCES}, WITH_NET, false),
    TRIAL(forks, SAME(EPERM), ALWAYS, false),
    TRIAL(runs_a_program, SAME(EPERM), ALWAYS, false),
    TRIAL(is_traced, SAME(EPERM), ALWAYS, false),
    TRIAL(reads_anothers_memory, SAME(EPERM), ALWAYS, true),
    TRIAL(signals_another, SAME(EPERM), WITH_SCOPES, false),
    TRIAL(changes_its_root, SAME(EPERM), ALWAYS, true),
    TRIAL(becomes_another, SAME(EPERM), ALWAYS, true),
    TRIAL(leaves_its_namespace, SAME(EPERM), ALWAYS, true),
    TRIAL(may_gain_privileges, SAME(EPERM), ALWAYS, false),
    TRIAL(removes_an_empty_folder, SAME(0), ALWAYS, false),
    TRIAL(removes_beside, SAME(EACCES), ALWAYS, false),
};

static bool is_for_the_leak_check(attempt try)
{
    return KW_LEAK_CHECK && (try == forks || try == is_traced);
}

static void make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "text", 4), 4);
    kw_close(&fd);
}

/* Attempts that succeed leave their mark. */
static void restore(void)
{
    make_file("beside/file");
    assert_true(mkdir("leave/empty", 0700) == 0 || errno == EEXIST);
    (void)unlink("out/moved");
}

static bool can_try(const struct trial *trial)
{
    return abi() >= trial->since && (!trial->root || geteuid() == 0) &&
           !is_for_the_leak_check(trial->try);
}

static void nothing_stops_a_free_process(void **state)
{
    (void)state;
    for (size_t i = 0; i < KW_COUNT(trials); i++) {
        restore();
        if (can_try(&trials[i]) && outcome(trials[i].try, NULL) != 0)
            fail_msg("%s fails though nothing confines it", trials[i].name);
    }
}

static void only_what_is_allowed(void **state)
{
    (void)state;
    if (abi() < 1) {
        print_message("the kernel has no Landlock\n");
        skip();
    }
    for (int network = KW_NETWORK_NONE; network <= KW_NETWORK_TCP; network++) {
        struct kw_confinement confinement = {.network = (enum kw_network)network};
        fill(&confinement);
        for (size_t i = 0; i < KW_COUNT(trials); i++) {
            restore();
            int expected = trials[i].expected[network];
            int got = can_try(&trials[i]) ? outcome(trials[i].try, &confinement) : expected;
            if (got != expected)
                fail_msg("%s with network %d: %s, not %s", trials[i].name, network, strerror(got),
                         strerror(expected));
        }
        kw_confinement_cleanup(&confinement);
    }
}

static void odd_calls_are_refused(void **state)
{
    static const attempt odd[] = {makes_an_odd_socket, types_on_a_terminal};
    struct kw_confinement confinement = {.network = KW_NETWORK_TCP};
    (void)state;
    if (abi() < 1)
        skip();
    fill(&confinement);
    for (size_t i = 0; i < KW_COUNT(odd); i++)
        assert_int_equal(outcome(odd[i], &confinement), EPERM);
    kw_confinement_cleanup(&confinement);
}

static int reads_service(void)
{
    return opened("service", O_PATH) || reads_inside() || reads_beside() == 0;
}

static void programs_where_they_are_allowed(void **state)
{
    struct kw_confinement confinement = {.exec = true};
    (void)state;
    if (abi() < 1)
        skip();
    fill(&confinement);
    assert_int_equal(outcome(runs_a_program, &confinement), 0);
    assert_int_equal(outcome(forks, &confinement), 0);
    assert_int_equal(outcome(reads_service, &confinement), 0);
    assert_int_equal(outcome(connects_by_tcp, &confinement), EPERM);
    kw_confinement_cleanup(&confinement);
}

static int confines_twice(void)
{
    struct kw_confinement nothing = {.items = NULL};
    const char *lacking = "?";
    if (kw_confine(&nothing, &lacking, NULL) != KW_OK || lacking)
        return CONFINING_FAILED;
    return reads_inside();
}

static void a_second_time_only_takes_away(void **state)
{
    struct kw_confinement confinement = {.items = NULL};
    (void)state;
    if (abi() < 1)
        skip();
    fill(&confinement);
    assert_int_equal(outcome(confines_twice, &confinement), EACCES);
    kw_confinement_cleanup(&confinement);
}

/* ---- kernels that lack it ---- */

static int says_it_lacks(const char *wanted, attempt try)
{
    struct kw_confinement nothing = {.items = NULL};
    struct kw_error err = {.status = KW_OK};
    const char *lacking = NULL;
    if (kw_confine(&nothing, &lacking, &err) != KW_OK || !lacking || strcmp(lacking, wanted) != 0)
        return CONFINING_FAILED;
    return try();
}

static bool take_landlock_away(void)
{
    return take_call_away(SYS_landlock_create_ruleset, -1, ENOSYS);
}
static bool take_seccomp_away(void)
{
    return take_call_away(SYS_seccomp, -1, ENOSYS) &&
           take_call_away(SYS_prctl, PR_SET_SECCOMP, EINVAL);
}

static int without_landlock(void)
{
    return take_landlock_away() ? says_it_lacks("Landlock", connects_by_tcp) : CONFINING_FAILED;
}
static int without_seccomp(void)
{
    return take_seccomp_away() ? says_it_lacks("seccomp", reads_beside) : CONFINING_FAILED;
}
static int without_either(void)
{
    return take_landlock_away() && take_seccomp_away()
               ? says_it_lacks("Landlock and seccomp", reads_beside)
               : CONFINING_FAILED;
}
/* Before seccomp had a call of its own there was prctl. */
static int with_old_seccomp(void)
{
    struct kw_confinement nothing = {.items = NULL};
    const char *lacking = "?";
    if (!take_call_away(SYS_seccomp, -1, ENOSYS) || kw_confine(&nothing, &lacking, NULL) != KW_OK ||
        lacking)
        return CONFINING_FAILED;
    return connects_by_tcp();
}

static void a_kernel_that_lacks_it_is_told_of(void **state)
{
    (void)state;
    if (abi() < 1)
        skip();
    assert_int_equal(outcome(without_landlock, NULL), EPERM);
    assert_int_equal(outcome(without_seccomp, NULL), EACCES);
    assert_int_equal(outcome(without_either, NULL), 0);
    assert_int_equal(outcome(with_old_seccomp, NULL), EPERM);
}

static void too_many_paths(void **state)
{
    struct kw_confinement confinement = {.items = NULL};
    struct kw_error err;
    (void)state;
    for (size_t i = 0; i < 1024; i++)
        assert_ok(kw_confine_allow(&confinement, "/dev/null", KW_MAY_READ, &err));
    assert_fails(kw_confine_allow(&confinement, "/dev/null", KW_MAY_READ, &err), KW_CONFIG, "1024");
    kw_confinement_cleanup(&confinement);
    assert_null(confinement.items);
}

/* ---- */

static void serve(int family, const void *address, size_t len)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, address, (socklen_t)len), 0);
    assert_int_equal(listen(fd, 64), 0); /* left to the end of the process */
    socklen_t size = sizeof(tcp);
    if (family == AF_INET)
        assert_int_equal(getsockname(fd, (struct sockaddr *)&tcp, &size), 0);
}

static int set_up(void **state)
{
    static const char *const folders[] = {"in", "out", "put", "beside", "leave"};
    struct sockaddr_un named = {.sun_family = AF_UNIX, .sun_path = "service"};
    struct sockaddr_un unnamed = {.sun_family = AF_UNIX};
    tcp = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    (void)state;
    assert_non_null(mkdtemp(root));
    assert_int_equal(chdir(root), 0);
    for (size_t i = 0; i < KW_COUNT(folders); i++)
        assert_int_equal(mkdir(folders[i], 0700), 0);
    make_file("in/file");
    make_file("put/file");
    restore();
    assert_int_equal(symlink("../beside/file", "out/link"), 0);
    kept = open("beside/file", O_RDONLY | O_CLOEXEC);
    (void)snprintf(abstract, sizeof(abstract), "keyward-test-%d", getpid());
    memcpy(unnamed.sun_path + 1, abstract, strlen(abstract));
    serve(AF_UNIX, &named, sizeof(named));
    serve(AF_UNIX, &unnamed, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(abstract));
    serve(AF_INET, &tcp, sizeof(tcp));
    return 0;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    kw_close(&kept);
    (void)snprintf(command, sizeof(command), "rm -rf %s", root);
    return chdir("/") || system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_stops_a_free_process),
        cmocka_unit_test(only_what_is_allowed),
        cmocka_unit_test(odd_calls_are_refused),
        cmocka_unit_test(programs_where_they_are_allowed),
        cmocka_unit_test(a_second_time_only_takes_away),
        cmocka_unit_test(a_kernel_that_lacks_it_is_told_of),
        cmocka_unit_test(too_many_paths),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
