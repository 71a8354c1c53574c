/* Copies every file of a folder into another, each with an fsync of its own, as a program does that
 * cares for one file at a time. `bench_fsync_each FROM TO THREADS` */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS_MAX 64
#define FILE_MAX    (1024 * 1024)

static int from, to;
static struct dirent **entries;
static int entry_count;
static atomic_int next_entry;

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static void copy(const char *name, char *buffer)
{
    int in = openat(from, name, O_RDONLY | O_CLOEXEC);
    ssize_t len = in >= 0 ? read(in, buffer, FILE_MAX) : -1;
    int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (len < 0 || out < 0 || write(out, buffer, (size_t)len) != len || fsync(out) != 0 ||
        close(out) != 0)
        die(name);
    (void)close(in); /* it was only read */
}

static void *copy_share(void *unused)
{
    (void)unused;
    char *buffer = malloc(FILE_MAX);
    if (!buffer)
        die("malloc");
    for (int i = atomic_fetch_add(&next_entry, 1); i < entry_count;
         i = atomic_fetch_add(&next_entry, 1))
        if (entries[i]->d_type == DT_REG)
            copy(entries[i]->d_name, buffer);
    free(buffer);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS_MAX];
    unsigned long count = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    if (count == 0 || count > THREADS_MAX)
        return 2;
    if (mkdir(argv[2], 0700) != 0)
        die(argv[2]);
    from = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    to = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    entry_count = scandir(argv[1], &entries, NULL, alphasort);
    if (from < 0 || to < 0 || entry_count < 0)
        die(argv[1]);
    for (unsigned long i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, copy_share, NULL) != 0)
            die("pthread_create");
    for (unsigned long i = 0; i < count; i++)
        if (pthread_join(threads[i], NULL) != 0)
            die("pthread_join");
    if (fsync(to) != 0)
        die(argv[2]);
    return 0;
}
