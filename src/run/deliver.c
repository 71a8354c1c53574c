/* A file's plaintext to a command, in the place of a file in the output folder. */
#include <errno.h>
#include <string.h>

#include "internal.h"

void kw_run_deliver_to(struct kw_run *run, int launcher)
{
    run->launcher = launcher;
}

/* What the command made of it says more than that the pipe broke. */
static enum kw_status explain_broken_pipe(struct kw_command *command, const char *file,
                                          bool (*go_on)(void *context), void *context,
                                          struct kw_error *err)
{
    char shown[256];
    enum kw_status status = kw_command_finish(command, file, go_on, context, err);
    if (status)
        return status;
    return kw_fail(err, KW_WRITE, "the command for %s ended before it had read all of it",
                   kw_printable(file, strlen(file), shown, sizeof(shown)));
}

enum kw_status kw_run_deliver(const struct kw_run *run, struct kw_flow *flow,
                              struct kw_flow_job *job, bool (*go_on)(void *context), void *context,
                              struct kw_flow_result *ret_result, struct kw_error *err)
{
    const struct kw_command_entry entries[KW_COMMAND_ENTRIES] = {
        {"KEYWARD_DROP", kw_drop_path(run->drop)},
        {"KEYWARD_FILE", job->source_name},
        {"KEYWARD_RUN", run->id}};
    struct kw_command command;
    struct kw_error failure = {.status = KW_OK};
    enum kw_status status = kw_command_start(run->launcher, entries, &command, err);
    if (status)
        return status;
    status = kw_sink_pipe_new(command.input, "the command", go_on, context, &job->sink, &failure);
    if (!status)
        status = kw_flow_run(flow, job, ret_result, &failure);
    if (!status)
        return kw_command_finish(&command, job->source_name, go_on, context, err);
    if (status == KW_WRITE && failure.sys_errno == EPIPE)
        return explain_broken_pipe(&command, job->source_name, go_on, context, err);
    /* Before it is gone it must not see an end of its input, which would look like a whole file. */
    kw_command_give_up(&command);
    if (err)
        *err = failure;
    return status;
}
