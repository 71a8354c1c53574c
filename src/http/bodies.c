/* The memory that the bodies of a listener's requests take together. Most of them are read before
 * anybody knows who sends them, so whoever begins many and ends none shall lose them to others. */
#include "http/internal.h"

void kw_http_bodies_finish(struct kw_http_job *job)
{
    if (job->unfinished)
        TAILQ_REMOVE(&job->listener->unfinished, job, entry);
    job->unfinished = false;
}

bool kw_http_bodies_count(struct kw_http_job *job)
{
    struct kw_http_listener *listener = job->listener;
    struct kw_http_job *oldest;
    listener->bodies += job->body.len - job->counted;
    job->counted = job->body.len;
    if (!job->unfinished && job->counted > 0) {
        TAILQ_INSERT_TAIL(&listener->unfinished, job, entry);
        job->unfinished = true;
    }
    while (listener->bodies > KW_HTTP_BODIES_MAX) {
        oldest = TAILQ_FIRST(&listener->unfinished);
        if (!oldest || oldest == job)
            return false;
        kw_http_connection_close(oldest->connection); /* with the job */
    }
    return true;
}

void kw_http_bodies_forget(struct kw_http_job *job)
{
    kw_http_bodies_finish(job);
    job->listener->bodies -= job->counted;
    job->counted = 0;
    kw_http_bytes_cleanup(&job->body);
}
