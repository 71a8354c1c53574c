/* The progress bar: files, bytes, rate and the time that is left, on one line of a terminal. */
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define REDRAW_MS 100
#define BAR_WIDTH 24

void progress_start(struct progress_bar *bar, const struct arguments *arguments)
{
    bool wanted = arguments->progress > 0 ||
                  (arguments->progress == 0 && !arguments->quiet && isatty(STDERR_FILENO) == 1);
    *bar = (struct progress_bar){.shown = wanted, .started_ms = kw_now_ms()};
}

static void show_left(const struct kw_progress *progress, uint64_t elapsed_ms, char *out,
                      size_t out_size)
{
    if (progress->bytes_done == 0 || progress->bytes_done > progress->bytes_total ||
        elapsed_ms < 500) {
        (void)snprintf(out, out_size, "-:--");
        return;
    }
    double left_ms = (double)(progress->bytes_total - progress->bytes_done) * (double)elapsed_ms /
                     (double)progress->bytes_done;
    uint64_t seconds = (uint64_t)(left_ms / 1000);
    if (seconds >= 3600)
        (void)snprintf(out, out_size, "%llu:%02llu:%02llu", (unsigned long long)(seconds / 3600),
                       (unsigned long long)(seconds / 60 % 60), (unsigned long long)(seconds % 60));
    else
        (void)snprintf(out, out_size, "%llu:%02llu", (unsigned long long)(seconds / 60),
                       (unsigned long long)(seconds % 60));
}

void progress_draw(struct progress_bar *bar, const struct kw_progress *progress)
{
    uint64_t now = kw_now_ms();
    bool last = progress->files_done == progress->files_total;
    if (!bar->shown || (!last && now - bar->drawn_ms < REDRAW_MS))
        return;
    bar->drawn_ms = now;
    bar->drawn = true;
    uint64_t elapsed = now - bar->started_ms;
    double part = progress->bytes_total == 0
                      ? 1
                      : (double)progress->bytes_done / (double)progress->bytes_total;
    int filled = part > 1 ? BAR_WIDTH : (int)(part * BAR_WIDTH);
    char done[SIZE_TEXT];
    char total[SIZE_TEXT];
    char rate[SIZE_TEXT];
    char left[32];
    uint64_t per_second = elapsed ? progress->bytes_done * 1000 / elapsed : 0;
    show_left(progress, elapsed, left, sizeof(left));
    (void)fprintf(stderr, "\r[%.*s%.*s] %llu/%llu files  %s of %s  %s/s  %s left \033[K", filled,
                  "########################", BAR_WIDTH - filled, "........................",
                  (unsigned long long)progress->files_done,
                  (unsigned long long)progress->files_total, show_size(progress->bytes_done, done),
                  show_size(progress->bytes_total, total), show_size(per_second, rate), left);
    (void)fflush(stderr);
}

void progress_clear(struct progress_bar *bar)
{
    if (bar->drawn)
        (void)fputs("\r\033[K", stderr);
    bar->drawn = false;
}
