/* Requests on their way to a handler and back. */
#include <stdlib.h>

#include "http/internal.h"

void kw_http_answer_cleanup(struct kw_http_answer *answer)
{
    if (answer->body.data)
        kw_wipe(answer->body.data, answer->body.capacity);
    kw_buffer_cleanup(&answer->body);
    kw_secret_free(answer->secret);
    answer->secret = NULL;
}

static void work(struct kw_http_task *task)
{
    struct kw_http_job *job = (struct kw_http_job *)task;
    job->listener->handle(job->listener->context, &job->request, &job->answer);
    kw_http_bytes_cleanup(&job->body);
}

static void done(struct kw_http_task *task)
{
    struct kw_http_job *job = (struct kw_http_job *)task;
    kw_http_bodies_forget(job);
    if (job->connection)
        kw_http_connection_answer(job->connection, task->worked);
    else
        kw_http_job_free(job);
}

struct kw_http_job *kw_http_job_new(struct kw_http_connection *connection)
{
    struct kw_http_job *job = calloc(1, sizeof(*job));
    if (!job)
        return NULL;
    job->task.work = work;
    job->task.done = done;
    job->connection = connection;
    job->listener = connection->listener;
    job->peer = connection->peer;
    job->peer->users++;
    job->request.peer = job->peer->peer;
    job->answer.body.max = KW_HTTP_ANSWER_MAX;
    return job;
}

void kw_http_job_free(struct kw_http_job *job)
{
    if (!job)
        return;
    kw_http_bodies_forget(job);
    kw_http_answer_cleanup(&job->answer);
    kw_http_bytes_cleanup(&job->text);
    kw_http_peer_release(job->peer);
    free(job);
}
