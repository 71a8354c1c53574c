/* stage: the calls that every stage answers. */
#include "flow/stage.h"

enum kw_status kw_stage_feed(struct kw_stage *stage, uint8_t *data, size_t len,
                             struct kw_error *err)
{
    if (len == 0)
        return KW_OK;
    stage->fed += len;
    return stage->ops->feed(stage, data, len, err);
}

enum kw_status kw_stage_done(struct kw_stage *stage, struct kw_error *err)
{
    return stage->ops->done(stage, err);
}

uint8_t *kw_stage_reserve(struct kw_stage *stage, size_t *ret_capacity)
{
    return stage->ops->reserve ? stage->ops->reserve(stage, ret_capacity) : NULL;
}

void kw_stage_restart(struct kw_stage *stage, struct kw_stage *next)
{
    stage->next = next;
    stage->fed = 0;
}

void kw_stage_free(struct kw_stage *stage)
{
    if (stage)
        stage->ops->free(stage);
}
