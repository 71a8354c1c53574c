/* keyward serve: Azure's key APIs in front of the token. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli.h"
#include "http/http.h"
#include "serve/serve.h"

struct view {
    const struct arguments *arguments;
    struct launched launched;
    struct manager manager;
    bool ready;
};

/* A log is read while it grows; that it can't be written ends nothing. */
static void tell(void *context, const char *line)
{
    (void)context;
    (void)fprintf(stderr, "keyward: %s\n", line);
}

static void listening(void *context, const char *name, const char *url)
{
    const struct view *view = context;
    if (!view->arguments->quiet)
        printf("%s: %s\n", name, url);
    (void)fflush(stdout);
}

static enum kw_service_wish tick(void *context)
{
    struct view *view = context;
    if (!view->ready)
        manager_tell(&view->manager, "READY=1\nSTATUS=serving");
    view->ready = true;
    manager_feed(&view->manager);
    if (stop_requested())
        return KW_STOP;
    return reload_requested() ? KW_RELOAD : KW_GO_ON;
}

/* ---- file descriptors ---- */

/* What a service has open besides connections: the token's, the trail's, its own. */
#define OTHER_DESCRIPTORS 256

/* A shell's usual limit is for programs that select(); the one above it is what may be used. */
static void raise_descriptors(const struct kw_config *config)
{
    struct rlimit limit;
    rlim_t wanted = OTHER_DESCRIPTORS;
    char line[200];
    for (size_t i = 0; i < config->listener_count; i++)
        wanted += config->listeners[i].connections ? (rlim_t)config->listeners[i].connections
                                                   : KW_HTTP_CONNECTIONS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max >= wanted) /* RLIM_INFINITY is more than any number */
        return;
    (void)snprintf(line, sizeof(line),
                   "warning: at most %llu files can be open, and the [listener]s' connections may "
                   "need %llu; raise the limit (LimitNOFILE=, ulimit -Hn) or lower connections",
                   (unsigned long long)limit.rlim_max, (unsigned long long)wanted);
    tell(NULL, line);
}

/* ---- sockets that the service manager holds: sd_listen_fds(3)'s protocol ---- */

#define FIRST_SOCKET 3

static bool is_number(const char *name, long *ret_number)
{
    const char *text = getenv(name);
    char *end = NULL;
    errno = 0;
    long number = text && *text >= '0' && *text <= '9' ? strtol(text, &end, 10) : -1;
    if (number < 0 || *end != '\0' || errno != 0)
        return false;
    *ret_number = number;
    return true;
}

/* Named after their listeners, by FileDescriptorName= of the socket unit. */
static void take_sockets(struct kw_service_options *options, char *names)
{
    long pid = 0, count = 0;
    if (!names || !is_number("LISTEN_PID", &pid) || pid != (long)getpid() ||
        !is_number("LISTEN_FDS", &count))
        return;
    for (long i = 0; i < count && options->socket_count < KW_COUNT(options->sockets); i++) {
        const char *name = strsep(&names, ":");
        int fd = FIRST_SOCKET + (int)i;
        if (!name)
            return;
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        options->sockets[options->socket_count++] =
            (struct kw_service_socket){.name = name, .fd = fd};
    }
}

/* ---- the subcommand ---- */

static enum kw_status confine_service(struct kw_service *service, const struct view *view,
                                      struct kw_error *err)
{
    struct kw_confinement confinement = {.items = NULL};
    struct kw_keyring *keyrings[2];
    const char *why = NULL;
    kw_service_keyrings(service, keyrings);
    enum kw_status status = kw_service_allow(service, &confinement, err);
    for (size_t i = 0; i < KW_COUNT(keyrings) && !status; i++)
        status = kw_keyring_allow(keyrings[i], true, &confinement, err);
    if (!status)
        status = confine(view->arguments, kw_keyring_config(keyrings[0]), &confinement, &why, err);
    if (!status && why)
        kw_keyring_note_unconfined(keyrings[0], why);
    kw_confinement_cleanup(&confinement);
    return status;
}

/* The command has to be known before the rest is: its launcher is forked first, and keeps the
 * limits that there were. */
static enum kw_status prepare(struct view *view, char **argv, char **ret_command,
                              struct kw_error *err)
{
    struct kw_config config = {.token_count = 0};
    enum kw_status status = kw_config_load(&config, view->arguments->config, err);
    if (!status && config.service.notify) {
        *ret_command = strdup(config.service.notify);
        status =
            *ret_command ? launch(&view->launched, *ret_command, argv, err) : kw_fail_memory(err);
    }
    if (!status)
        raise_descriptors(&config);
    kw_config_cleanup(&config);
    return status;
}

static enum kw_status serve(struct view *view, char **argv, struct kw_error *err)
{
    char *names = getenv("LISTEN_FDNAMES") ? strdup(getenv("LISTEN_FDNAMES")) : NULL;
    char *command = NULL;
    struct kw_service *service = NULL;
    enum kw_status status = prepare(view, argv, &command, err);
    struct kw_service_options options = {
        .keyring = {.config_file = view->arguments->config,
                    .token = view->arguments->token,
                    .ask_pin = ask_pin},
        .launcher = view->launched.requests,
        .tell = tell,
        .listening = listening,
        .tick = tick,
        .context = view,
    };
    take_sockets(&options, names);
    manager_start(&view->manager);
    if (!status)
        status = kw_secret_start(err);
    if (!status)
        status = kw_service_open(&options, &service, err);
    hide_pins(argv);
    if (!status)
        status = confine_service(service, view, err);
    if (!status)
        status = kw_service_run(service, err);
    manager_end(&view->manager);
    kw_service_free(service);
    free(command);
    free(names);
    return status;
}

int run_serve(const struct arguments *arguments, char **argv)
{
    struct view view = {
        .arguments = arguments, .launched = {.requests = -1}, .manager = {.fd = -1}};
    struct kw_error err;
    catch_reload();
    enum kw_status status = serve(&view, argv, &err);
    end_launched(&view.launched);
    return status ? print_error(&err) : 0;
}
