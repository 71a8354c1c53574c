/* Runs a command with its output to /dev/null and prints seconds, exit code and peak memory in KiB
 * of it, or of the largest program that it started and waited for. So small a program, because a
 * command begins with the peak of what started it. `bench_timer COMMAND [ARGUMENT...]` */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time); /* it can't fail for this clock */
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void become(char **command)
{
    int null = open("/dev/null", O_WRONLY);
    if (null >= 0 && dup2(null, STDOUT_FILENO) >= 0)
        (void)execvp(command[0], command); /* it returns where it fails */
    perror(command[0]);
    _exit(127);
}

int main(int argc, char **argv)
{
    int status = 0;
    struct rusage usage;
    if (argc < 2)
        return 2;
    double start = now();
    pid_t child = fork();
    if (child == 0)
        become(argv + 1);
    if (child < 0 || wait4(child, &status, 0, &usage) != child) {
        perror("bench_timer");
        return 1;
    }
    double seconds = now() - start;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    printf("%.6f %d %ld\n", seconds, code, usage.ru_maxrss);
    return 0;
}
