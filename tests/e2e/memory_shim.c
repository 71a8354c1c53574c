/* Loaded before the C library (LD_PRELOAD): memory that runs out.
 *
 * KW_MEMORY is "N", and the N-th allocation fails (from 1 on), or "N+", and all do from then on.
 * KW_MEMORY_LOG names a file of 64-bit numbers in the machine's order: how many allocations there
 * were, how many failed and, without KW_MEMORY, for each a number that stands for the calls which
 * led to it, as many as the file has room for. With KW_MEMORY_WHERE those that led to the first
 * failure go to standard error.
 *
 * What is asked for on behalf of the PKCS#11 module (KW_TEST_MODULE is somewhere up the stack), or
 * by what of glibc ends the process then, never fails, and has 0 in the log: how that ends is not
 * Keyward's. OpenSSL's secure heap counts too. */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FRAMES 96
#define CALLER 2 /* above fails() and the function that is taken here */

struct log {
    atomic_ulong asked;
    atomic_ulong failed;
    uint64_t paths[];
};

static struct log own;
static struct log *counts = &own;
static size_t room; /* for paths */
static unsigned long fail_at;
static bool fail_on; /* all from then on */
static bool show_where;
static const char *module;
static bool ready;

/* glibc's own, below the names that are taken here. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void map_log(const char *path)
{
    struct stat info;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0 || (size_t)info.st_size < sizeof(own))
        abort();
    void *shared = mmap(NULL, (size_t)info.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        abort();
    (void)close(fd);
    counts = shared;
    if (fail_at == 0)
        room = ((size_t)info.st_size - sizeof(own)) / sizeof(own.paths[0]);
}

static void tell_crash(int number);

__attribute__((constructor)) static void start(void)
{
    void *frames[4];
    const char *plan = getenv("KW_MEMORY"), *log = getenv("KW_MEMORY_LOG");
    char *end = NULL;
    (void)backtrace(frames, 4); /* loads what it needs, with memory */
    if (getenv("KW_TEST_MODULE"))
        module = base_name(getenv("KW_TEST_MODULE"));
    show_where = getenv("KW_MEMORY_WHERE") != NULL;
    fail_at = plan ? strtoul(plan, &end, 10) : 0;
    fail_on = end && *end == '+';
    if (log)
        map_log(log);
    const struct sigaction crash = {.sa_handler = tell_crash};
    if (fail_at > 0 && sigaction(SIGSEGV, &crash, NULL) != 0)
        abort();
    ready = true;
}

/* Where glibc ends the process itself: its loader for want of a thread's variables, its database of
 * users by an assertion. */
static bool is_hopeless(const char *library, int frame, void *address)
{
    Dl_info info;
    if (strncmp(library, "ld-linux", 8) == 0)
        return frame == CALLER;
    return strncmp(library, "libc.so", 7) == 0 && dladdr(address, &info) != 0 && info.dli_sname &&
           strcmp(info.dli_sname, "getpwuid_r") == 0;
}

static bool is_exempt(void *const *frames, int count)
{
    for (int i = 0; i < count; i++) {
        struct dl_find_object object;
        if (_dl_find_object(frames[i], &object) == 0 && object.dlfo_link_map) {
            const char *name = base_name(object.dlfo_link_map->l_name);
            if ((module && strcmp(name, module) == 0) || is_hopeless(name, i, frames[i]))
                return true;
        }
    }
    return false;
}

/* The library whose code crashed, or what called the C library to do so. "" is the program. */
static const char *who_crashed(void)
{
    void *frames[FRAMES];
    int count = backtrace(frames, FRAMES);
    for (int i = 0; i < count; i++) {
        struct dl_find_object object;
        if (_dl_find_object(frames[i], &object) != 0 || !object.dlfo_link_map)
            continue;
        const char *name = base_name(object.dlfo_link_map->l_name);
        if (strncmp(name, "libc.so", 7) != 0 && strncmp(name, "kw_memory_shim", 14) != 0)
            return name;
    }
    return "";
}

/* A crash within a library that Keyward calls is told from one of its own: exit code 99. Without
 * memory some of OpenSSL's and p11-kit's functions use what they did not get. */
static void tell_crash(int number)
{
    static const char words[] = "crashed in ";
    const char *name = who_crashed();
    if (name[0] == '\0') {
        (void)signal(number, SIG_DFL); /* and it happens again */
        return;
    }
    if (write(STDERR_FILENO, words, sizeof(words) - 1) < 0 ||
        write(STDERR_FILENO, name, strlen(name)) < 0 || write(STDERR_FILENO, "\n", 1) < 0)
        _exit(98);
    _exit(99);
}

/* Keyward's threads take no signals; this one they do. */
int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    static int (*next)(int, const sigset_t *, sigset_t *);
    sigset_t most;
    if (!next)
        next = (int (*)(int, const sigset_t *, sigset_t *))dlsym(RTLD_NEXT, "pthread_sigmask");
    if (!set || how == SIG_UNBLOCK)
        return next(how, set, old);
    most = *set;
    (void)sigdelset(&most, SIGSEGV);
    return next(how, &most, old);
}

/* FNV-1a. */
static uint64_t path_of(void *const *frames, int count)
{
    uint64_t hash = 0xCBF29CE484222325;
    for (int i = 0; i < count; i++)
        hash = (hash ^ (uintptr_t)frames[i]) * 0x100000001B3;
    return hash | 1;
}

/* Whether this allocation is to fail. The way to it is looked at where that matters only: it takes
 * a hundred times as long as the allocation. */
static __attribute__((noinline)) bool fails(void)
{
    static _Thread_local bool inside;
    void *frames[FRAMES];
    if (!ready || inside)
        return false;
    unsigned long number = atomic_fetch_add(&counts->asked, 1) + 1;
    bool failing = fail_at > 0 && (fail_on ? number >= fail_at : number == fail_at);
    if (!failing && number > room)
        return false;
    inside = true;
    int count = backtrace(frames, FRAMES);
    bool exempt = is_exempt(frames, count);
    failing = failing && !exempt;
    if (number <= room)
        counts->paths[number - 1] = exempt ? 0 : path_of(frames, count);
    if (failing && atomic_fetch_add(&counts->failed, 1) == 0 && show_where)
        backtrace_symbols_fd(frames, count, STDERR_FILENO);
    inside = false;
    if (failing)
        errno = ENOMEM;
    return failing;
}

void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails() ? NULL : __libc_realloc(old, size);
}

/* OpenSSL's secure heap is a region of its own, which runs out by itself. */
void *CRYPTO_secure_malloc(size_t size, const char *file, int line)
{
    static void *(*next)(size_t, const char *, int);
    if (!next)
        next = (void *(*)(size_t, const char *, int))dlsym(RTLD_NEXT, "CRYPTO_secure_malloc");
    return fails() ? NULL : next(size, file, line);
}

void *CRYPTO_secure_zalloc(size_t size, const char *file, int line)
{
    static void *(*next)(size_t, const char *, int);
    if (!next)
        next = (void *(*)(size_t, const char *, int))dlsym(RTLD_NEXT, "CRYPTO_secure_zalloc");
    return fails() ? NULL : next(size, file, line);
}
