/* JSON: what is accepted, prints as JSON that is accepted too. */
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void check_printed(const cJSON *json)
{
    static const struct kw_json_limits wider = {SIZE_MAX, 32, SIZE_MAX};
    char *text = cJSON_PrintUnformatted(json);
    if (!text)
        return;
    cJSON *again = NULL;
    must(kw_json_parse(text, strlen(text), &wider, "again", KW_METADATA, &again, NULL) == KW_OK);
    cJSON_Delete(again);
    cJSON_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct kw_json_limits limits = {.bytes = 65536, .depth = 32, .items = 4096};
    struct kw_error err = {.status = KW_OK};
    cJSON *json = NULL;
    enum kw_status status =
        kw_json_parse((const char *)data, size, &limits, "fuzz", KW_METADATA, &json, &err);
    if (status == KW_OK)
        check_printed(json);
    else
        must(status == KW_METADATA && err.status == status && !json);
    cJSON_Delete(json);
    return 0;
}
