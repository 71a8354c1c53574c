/* A command that is told of an event, by the launcher. */
#include <string.h>

#include "launcher.h"

static bool until_deadline(void *context)
{
    return kw_now_ms() < *(const uint64_t *)context;
}

enum kw_status kw_launcher_notify(int launcher, const struct kw_notice *notice, unsigned timeout_ms,
                                  struct kw_error *err)
{
    const struct kw_command_entry entries[KW_COMMAND_ENTRIES] = {{"KEYWARD_EVENT", notice->event},
                                                                 {"KEYWARD_KEY", notice->key},
                                                                 {"KEYWARD_WHO", notice->who}};
    struct kw_command command;
    uint64_t deadline_ms = kw_now_ms() + timeout_ms;
    enum kw_status status = kw_command_start(launcher, entries, &command, err);
    if (status)
        return status;
    /* A pipe holds that much, so nobody is waited for. */
    status = kw_write_full(command.input, notice->line, strlen(notice->line), "the command's input",
                           err);
    if (status) {
        kw_command_give_up(&command);
        return status;
    }
    return kw_command_finish(&command, "the event", until_deadline, &deadline_ms, err);
}
