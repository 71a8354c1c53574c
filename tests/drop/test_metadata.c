/* Arrangements of metadata that are read, and faults that are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drop/drop.h"
#include "metadata_text.h"

#define FULL "'DecryptionKeyValue':'$V','DecryptionKeyIV':'$I'"
#define NESTED                                                                                     \
    "{'DecryptionKeyDetails':{'PublicKeyVersion':'$K','DecryptionKeyValue':'$V',"                  \
    "'DecryptionKeyIV':'$I'}}"
#define JOB_LIST                                                                                   \
    "{'TableName':'x','Errors':'','PublicKeyVersion':'$K','DecryptionKeyDetails':"                 \
    "[{'DecryptionKeyType':'File','value':'$V','iv':'$I'}]}"
#define URL(text) "{'PublicKeyVersion':'" text "'," FULL "}"

struct parsed {
    enum kw_status status;
    bool found;
    struct kw_envelope envelope;
    struct kw_buffer wrapped;
    struct kw_error err;
};

static struct parsed parse(const char *details, const char *job)
{
    struct parsed parsed = {.found = true, .wrapped = KW_BUFFER_INIT(0)};
    char *details_text = details ? test_expand(details) : NULL;
    char *job_text = job ? test_expand(job) : NULL;
    const struct kw_metadata_text text = {
        .details = details_text,
        .details_len = details ? strlen(details_text) : 0,
        .job = job_text,
        .job_len = job ? strlen(job_text) : 0,
    };
    parsed.status =
        kw_metadata_parse(&text, &parsed.found, &parsed.envelope, &parsed.wrapped, &parsed.err);
    free(details_text);
    free(job_text);
    return parsed;
}

static const struct good {
    const char *details;
    const char *job;
    size_t column_keys;
} goods[] = {
    {NESTED, NULL, 0},
    {NESTED, "{'Errors':''}", 0},
    {NESTED, "{}", 0},
    {NESTED, JOB_LIST, 0},
    {"$B" NESTED, NULL, 0},
    {" \r\n" NESTED "\n", NULL, 0},
    {"{'PublicKeyVersion':'$K'," FULL "}", NULL, 0},
    {"{'publickeyversion':'$K','DECRYPTIONKEYVALUE':'$V','decryptionKeyIv':'$I'}", NULL, 0},
    {"{'PublicKeyVersion':'$K','Value':'$V','IV':'$I'}", NULL, 0},
    {"{'PublicKeyVersion':'$K','value':'$V','iv':'$I','type':'file'}", NULL, 0},
    {"{'PublicKeyVersion':'$K','value':'$V','iv':'$I','type':null}", NULL, 0},
    {"{'PublicKeyVersion':'$K','value':'$V','DecryptionKeyValue':null,'iv':'$I'}", NULL, 0},
    {"[{'PublicKeyVersion':'$K'," FULL "}]", NULL, 0},
    {"[" NESTED "]", NULL, 0},
    {"[" NESTED "," NESTED "]", NULL, 0},
    {"{'PublicKeyVersion':'$K','DecryptionKeyDetails':{" FULL "}}", NULL, 0},
    {"{'PublicKeyVersion':'$K','DecryptionKeyDetails':[{" FULL "}]}", NULL, 0},
    {"{'DecryptionKeyDetails':[{" FULL "}],'PublicKeyVersion':'$K'}", NULL, 0},
    {"{'DecryptionKeyDetails':[{'PublicKeyVersion':'$K'," FULL "}]}", NULL, 0},
    {"{'PublicKeyVersion':'$K','DecryptionKeyDetails':{'PublicKeyVersion':'$K'," FULL "}}", NULL,
     0},
    {"{'PublicKeyVersion':'$K','DecryptionKeyDetails':{'DecryptionKeys':[{" FULL "}]}}", NULL, 0},
    {"{'PublicKeyVersion':'$K','DecryptionKeys':[{'DecryptionKeyType':'Column','Value':'','IV':''},"
     "{'DecryptionKeyType':'FILE','Value':'$V','IV':'$I'},{'Type':'column'}]}",
     NULL, 2},
    {"{'PublicKeyVersion':'$K','decryptionKeys':[{" FULL "},{" FULL "}]}", NULL, 0},
    {"{'Other':{'deep':[1,2,{'x':null}]},'PublicKeyVersion':'$K'," FULL "}", NULL, 0},
    {"{'PublicKeyVersion':'$K','DecryptionKeyValue':'$U','DecryptionKeyIV':'$T'}", NULL, 0},
    {URL("https://v.vault.azure.net/keys/tenant-1/$K"), NULL, 0},
    {URL("HTTPS://v.vault.azure.net/keys/tenant-1/$K/"), NULL, 0},
    {URL("https://v.vault.azure.net:443/keys/tenant-1/$K"), NULL, 0},
    {URL("https:\\/\\/h.managedhsm.azure.net\\/keys\\/n\\/$K"), NULL, 0},
    {"{'PublicKeyVersion':'https://v.vault.azure.net/keys/n/$K','DecryptionKeys':"
     "[{'PublicKeyVersion':'$K'," FULL "}]}",
     NULL, 0},
    /* The job's metadata alone. */
    {NULL, JOB_LIST, 0},
    {NULL, "$B" JOB_LIST, 0},
    {NULL, "{'Errors':null,'PublicKeyVersion':'$K'," FULL "}", 0},
    {NULL, "{'Value':7,'Type':'Export','IV':[],'PublicKeyVersion':'$K'," FULL "}", 0},
    {NULL,
     "{'PublicKeyVersion':'$K','DecryptionKeys':[{'Type':'Column'},{'Type':'File','value':'$V',"
     "'iv':'$I'}]}",
     1},
    /* One has the File key, the other says nothing or has Column keys only. */
    {NESTED, "{'DecryptionKeyDetails':[],'Errors':[]}", 0},
    {NESTED, "{'DecryptionKeyDetails':'','Errors':{}}", 0},
    {NESTED, "{'DecryptionKeyDetails':[{'Type':'Column'},{'Type':'Column'}]}", 2},
    {"[{'Type':'Column'}]", JOB_LIST, 1},
};

static void reads_every_arrangement(void **state)
{
    (void)state;
    uint8_t wrapped[256];
    uint8_t iv[KW_AES_BLOCK];
    test_bytes(1, wrapped, sizeof(wrapped));
    test_bytes(3, iv, sizeof(iv));
    for (size_t i = 0; i < KW_COUNT(goods); i++) {
        struct parsed parsed = parse(goods[i].details, goods[i].job);
        if (parsed.status != KW_OK)
            fail_msg("arrangement %zu: %s", i, parsed.err.message);
        assert_true(parsed.found);
        assert_string_equal(parsed.envelope.version, TEST_VERSION);
        assert_int_equal(parsed.envelope.wrapped_len, sizeof(wrapped));
        assert_memory_equal(parsed.envelope.wrapped, wrapped, sizeof(wrapped));
        assert_memory_equal(parsed.envelope.iv, iv, sizeof(iv));
        assert_int_equal(parsed.envelope.column_keys, goods[i].column_keys);
        assert_ptr_equal(parsed.envelope.wrapped, parsed.wrapped.data);
        assert_string_equal(parsed.envelope.metadata_path,
                            kw_drop_metadata_path(parsed.envelope.format));
        kw_buffer_cleanup(&parsed.wrapped);
    }
}

static void takes_the_current_layout_first(void **state)
{
    (void)state;
    static const struct {
        const char *details;
        const char *job;
        enum kw_drop_format format;
    } cases[] = {
        {NESTED, NULL, KW_DROP_DATA_CONNECT},
        {NESTED, JOB_LIST, KW_DROP_DATA_CONNECT},
        {NULL, JOB_LIST, KW_DROP_VIVA_INSIGHTS},
        {"[{'Type':'Column'}]", JOB_LIST, KW_DROP_VIVA_INSIGHTS},
    };
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        struct parsed parsed = parse(cases[i].details, cases[i].job);
        assert_int_equal(parsed.status, KW_OK);
        assert_int_equal(parsed.envelope.format, cases[i].format);
        kw_buffer_cleanup(&parsed.wrapped);
    }
}

static void finds_no_encryption(void **state)
{
    (void)state;
    static const char *const jobs[] = {
        NULL,
        "{}",
        "{'Errors':'','TableName':'x','PublicKeyVersion':'$K'}",
        "{'DecryptionKeyDetails':null}",
        "{'DecryptionKeyDetails':[]}",
        "{'DecryptionKeyValue':'','DecryptionKeyIV':' ','PublicKeyVersion':''}",
        "{'Value':'$V','IV':'$I','PublicKeyVersion':'$K'}",
    };
    for (size_t i = 0; i < KW_COUNT(jobs); i++) {
        struct parsed parsed = parse(NULL, jobs[i]);
        if (parsed.status != KW_OK)
            fail_msg("job %zu: %s", i, parsed.err.message);
        assert_false(parsed.found);
        assert_null(parsed.wrapped.data);
    }
}

#define DETAILS_FILE "encryptionKeyDetails.json"
#define JOB_FILE     "JobMetadata/Metadata.json"

static const struct bad {
    const char *details;
    const char *job;
    const char *says;  /* part of the message */
    const char *names; /* another part: the file, or a value */
} bads[] = {
    /* no JSON */
    {"", NULL, "empty", DETAILS_FILE},
    {"$B", NULL, "empty", DETAILS_FILE},
    {"{'DecryptionKeyDetails': {", NULL, "JSON", DETAILS_FILE},
    {NESTED "x", NULL, "JSON", DETAILS_FILE},
    {NESTED, "{", "JSON", JOB_FILE},
    {NESTED, "", "empty", JOB_FILE},
    {NULL, "not json", "JSON", JOB_FILE},
    {"{'PublicKeyVersion':'$K\\u0000'," FULL "}", NULL, "NUL", DETAILS_FILE},
    {"{'PublicKeyVersion':'\xff'," FULL "}", NULL, "UTF-8", DETAILS_FILE},
    /* the wrong shape */
    {"7", NULL, "neither an object nor an array", DETAILS_FILE},
    {"'DecryptionKeyDetails'", NULL, "neither an object nor an array", DETAILS_FILE},
    {"[7]", NULL, "neither an object nor an array", DETAILS_FILE},
    {"[[" NESTED "],7]", NULL, "neither an object nor an array", DETAILS_FILE},
    {"{'DecryptionKeyDetails':'x'}", NULL, "DecryptionKeyDetails in", "neither an object"},
    {"{'DecryptionKeys':true}", NULL, "DecryptionKeys in", "neither an object"},
    {"{'DecryptionKeys':['x']}", NULL, "DecryptionKeys in", "neither an object"},
    {"[]", NULL, "holds no key", DETAILS_FILE},
    {"{'DecryptionKeyDetails':[]}", NULL, "holds no key", DETAILS_FILE},
    {"{'PublicKeyVersion':'$K','DecryptionKeyDetails':{}," FULL "}", NULL, "DecryptionKeyValue in",
     "beside DecryptionKeyDetails"},
    {"{'PublicKeyVersion':'$K','DecryptionKeyDetails':{" FULL "},'iv':'$I'}", NULL, "IV in",
     "beside DecryptionKeyDetails"},
    {NULL, "[" JOB_LIST "]", "not a JSON object", JOB_FILE},
    {NESTED, "'x'", "not a JSON object", JOB_FILE},
    {NULL, "{'DecryptionKeyDetails':7}", "DecryptionKeyDetails in", JOB_FILE},
    /* a field that is missing */
    {"{}", NULL, "PublicKeyVersion is missing", DETAILS_FILE},
    {"{'DecryptionKeyDetails':{}}", NULL, "PublicKeyVersion is missing", DETAILS_FILE},
    {"{'DecryptionKeyDetails':null}", NULL, "PublicKeyVersion is missing", DETAILS_FILE},
    {"{" FULL "}", NULL, "PublicKeyVersion is missing", DETAILS_FILE},
    {"{'PublicKeyVersion':null," FULL "}", NULL, "PublicKeyVersion is missing", DETAILS_FILE},
    {"{'PublicKeyVersion':'$K','IV':'$I'}", NULL, "DecryptionKeyValue is missing", DETAILS_FILE},
    {"{'PublicKeyVersion':'$K','Value':'$V'}", NULL, "DecryptionKeyIV is missing", DETAILS_FILE},
    {"[" NESTED ",{" FULL "}]", NULL, "PublicKeyVersion is missing", DETAILS_FILE},
    {NULL, "{'PublicKeyVersion':'$K','DecryptionKeyIV':'$I'}", "DecryptionKeyValue is missing",
     JOB_FILE},
    {NULL, "{" FULL "}", "PublicKeyVersion is missing", JOB_FILE},
    {"{" FULL "}", JOB_LIST, "PublicKeyVersion is missing", DETAILS_FILE},
    /* a field twice */
    {"{'IV':'$I','IV':'$I','PublicKeyVersion':'$K','Value':'$V'}", NULL, "twice", DETAILS_FILE},
    {"{'IV':'$I','iv':'$I','PublicKeyVersion':'$K','Value':'$V'}", NULL, "twice", DETAILS_FILE},
    {"{'IV':'$I','DecryptionKeyIV':'$I','PublicKeyVersion':'$K','Value':'$V'}", NULL,
     "DecryptionKeyIV occurs twice", "as IV and as DecryptionKeyIV"},
    {"{'PublicKeyVersion':'$K','Value':'$V'," FULL "}", NULL, "DecryptionKeyValue occurs twice",
     DETAILS_FILE},
    {"{'Type':'File','DecryptionKeyType':'File','PublicKeyVersion':'$K'," FULL "}", NULL,
     "DecryptionKeyType occurs twice", DETAILS_FILE},
    {"{'DecryptionKeys':[],'DecryptionKeyDetails':[{'PublicKeyVersion':'$K'," FULL "}]}", NULL,
     "DecryptionKeyDetails occurs twice", DETAILS_FILE},
    {"{'PublicKeyVersion':'$K','DecryptionKeyDetails':{'PublicKeyVersion':'$L'," FULL "}}", NULL,
     "PublicKeyVersion occurs twice", "different values"},
    {"{'PublicKeyVersion':'$K','DecryptionKeyDetails':{'PublicKeyVersion':'$L',"
     "'DecryptionKeys':[{" FULL "}]}}",
     NULL, "PublicKeyVersion occurs twice", "different values"},
    /* the wrong type */
    {"{'PublicKeyVersion':7," FULL "}", NULL, "PublicKeyVersion in", "not a string"},
    {"{'PublicKeyVersion':7,'DecryptionKeys':[{'PublicKeyVersion':'$K'," FULL "}]}", NULL,
     "PublicKeyVersion in", "not a string"},
    {"{'PublicKeyVersion':'$K','Value':{},'IV':'$I'}", NULL, "Value in", "not a string"},
    {"{'PublicKeyVersion':'$K','Value':'$V','IV':['$I']}", NULL, "IV in", "not a string"},
    {"{'PublicKeyVersion':'$K','Type':1," FULL "}", NULL, "Type in", "not a string"},
    {"[{'Type':'Column','Value':7}," NESTED "]", NULL, "Value in", "not a string"},
    {"[{'Type':'Column','PublicKeyVersion':false}," NESTED "]", NULL, "PublicKeyVersion in",
     "not a string"},
    /* types of keys */
    {"{'PublicKeyVersion':'$K','Type':'Row'," FULL "}", NULL, "is \"Row\"", "neither File nor"},
    {"{'PublicKeyVersion':'$K','Type':''," FULL "}", NULL, "is \"\"", "neither File nor"},
    {"{'PublicKeyVersion':'$K','Type':'Fi\\nle'," FULL "}", NULL, "Fi\\x0ale", "neither File nor"},
    {"{'PublicKeyVersion':'$K','Type':'Column'," FULL "}", NULL, "Column keys only", DETAILS_FILE},
    {NULL, "{'PublicKeyVersion':'$K','DecryptionKeys':[{'Type':'Column'}]}", "Column keys only",
     JOB_FILE},
    {"{'PublicKeyVersion':'$K','DecryptionKeys':[{" FULL "},{'Value':'$W','IV':'$I'}]}", NULL,
     "several File keys", "differ in DecryptionKeyValue"},
    {"{'PublicKeyVersion':'$K','DecryptionKeys':[{" FULL "},{'Value':'$V','IV':'$J'}]}", NULL,
     "nothing says which file", "differ in DecryptionKeyIV"},
    {"[{'PublicKeyVersion':'$K'," FULL "},{'PublicKeyVersion':'$L'," FULL "}]", NULL,
     "nothing says which file", "differ in PublicKeyVersion"},
    /* base64 */
    {"{'PublicKeyVersion':'$K','Value':'!$V','IV':'$I'}", NULL, "Value in",
     "the value is not base64"},
    {"{'PublicKeyVersion':'$K','Value':' $V','IV':'$I'}", NULL, "Value in",
     "the value is not base64"},
    {"{'PublicKeyVersion':'$K','Value':'$V\\n','IV':'$I'}", NULL, "Value in",
     "the value is not base64"},
    {"{'PublicKeyVersion':'$K','Value':'$V=','IV':'$I'}", NULL, "Value in",
     "the value is not base64"},
    {"{'PublicKeyVersion':'$K','Value':'+-$V','IV':'$I'}", NULL, "Value in",
     "the value is not base64"},
    {"{'PublicKeyVersion':'$K','DecryptionKeyValue':'$V','DecryptionKeyIV':'a'}", NULL,
     "DecryptionKeyIV in", "the value is not base64"},
    {"{'PublicKeyVersion':'$K','Value':'','IV':'$I'}", NULL, "Value in", "is 0 bytes"},
    {"{'PublicKeyVersion':'$K','Value':'$V','IV':''}", NULL, "IV in", "is 0 bytes"},
    {"{'PublicKeyVersion':'$K','Value':'$I','IV':'$V'}", NULL, "Value in", "is 16 bytes"},
    {"{'PublicKeyVersion':'$K','Value':'$V','IV':'$V'}", NULL, "IV in", "is 256 bytes"},
    {"{'PublicKeyVersion':'$K','Value':'$V$V$V$V$V$V','IV':'$I'}", NULL, "Value in",
     "2064 characters"},
    /* versions */
    {URL(""), NULL, "PublicKeyVersion in", "is empty"},
    {URL("a b"), NULL, "PublicKeyVersion in", "printable ASCII"},
    {URL(" $K"), NULL, "PublicKeyVersion in", "printable ASCII"},
    {URL("$K\\n"), NULL, "PublicKeyVersion in", "printable ASCII"},
    {URL("\\u001b[2J"), NULL, "PublicKeyVersion in", "printable ASCII"},
    {URL("\\u007f"), NULL, "PublicKeyVersion in", "printable ASCII"},
    {URL("cl\xc3\xa9"), NULL, "PublicKeyVersion in", "printable ASCII"},
    {URL("http://v.vault.azure.net/keys/n/$K"), NULL, "is a URL", "https://VAULT/keys/"},
    {URL("https://v.vault.azure.net/keys/n"), NULL, "is a URL", DETAILS_FILE},
    {URL("https://v.vault.azure.net/keys/n/"), NULL, "is a URL", DETAILS_FILE},
    {URL("https://v.vault.azure.net/keys/n/$K//"), NULL, "is a URL", DETAILS_FILE},
    {URL("https://v.vault.azure.net/keys/n/$K/x"), NULL, "is a URL", DETAILS_FILE},
    {URL("https://v.vault.azure.net/keys/n/$K?api-version=7.4"), NULL, "is a URL", DETAILS_FILE},
    {URL("https://v.vault.azure.net/keys/n/$K#x"), NULL, "is a URL", DETAILS_FILE},
    {URL("https://v.vault.azure.net/keys//$K"), NULL, "is a URL", DETAILS_FILE},
    {URL("https://v.vault.azure.net/secrets/n/$K"), NULL, "is a URL", DETAILS_FILE},
    {URL("https://user@v.vault.azure.net/keys/n/$K"), NULL, "is a URL", DETAILS_FILE},
    {URL("https://v.vault.azure.net:8443/keys/n/$K"), NULL, "is a URL", DETAILS_FILE},
    {URL("https:///keys/n/$K"), NULL, "is a URL", DETAILS_FILE},
    {URL("see https://v.vault.azure.net/keys/n/$K"), NULL, "is a URL", DETAILS_FILE},
    {URL("https://"), NULL, "is a URL", DETAILS_FILE},
    /* both files */
    {NESTED, "{'PublicKeyVersion':'$L'," FULL "}", "contradict each other in PublicKeyVersion",
     JOB_FILE},
    {NESTED, "{'PublicKeyVersion':'$K','DecryptionKeyValue':'$W','DecryptionKeyIV':'$I'}",
     "contradict each other in DecryptionKeyValue", DETAILS_FILE},
    {NESTED, "{'PublicKeyVersion':'$K','DecryptionKeyValue':'$V','DecryptionKeyIV':'$J'}",
     "contradict each other in DecryptionKeyIV", DETAILS_FILE},
    /* the job failed */
    {NESTED, "{'Errors':'Timed out'}", "the export job reported errors, there is no output",
     "Timed out"},
    {NULL, "{'errors':'Timed out'}", "the export job reported errors", "Timed out"},
    {NESTED, "{'Errors':['a','b']}", "the export job reported errors", "a\\x22,\\x22b"},
    {NESTED, "{'Errors':{'Code':9}}", "the export job reported errors", "Code"},
    {NESTED, "{'Errors':['']}", "the export job reported errors", JOB_FILE},
    {NESTED, "{'Errors':3}", "the export job reported errors", JOB_FILE},
    {NESTED, "{'Errors':true}", "the export job reported errors", JOB_FILE},
    {NESTED, "{'Errors':'\\u001b[31m'}", "the export job reported errors", "\\x1b[31m"},
};

static void refuses_every_fault(void **state)
{
    (void)state;
    for (size_t i = 0; i < KW_COUNT(bads); i++) {
        struct parsed parsed = parse(bads[i].details, bads[i].job);
        if (parsed.status != KW_METADATA)
            fail_msg("fault %zu (%s) gave status %d", i, bads[i].says, parsed.status);
        if (!strstr(parsed.err.message, bads[i].says) || !strstr(parsed.err.message, bads[i].names))
            fail_msg("fault %zu (%s, %s) said: %s", i, bads[i].says, bads[i].names,
                     parsed.err.message);
        assert_int_equal(parsed.err.status, KW_METADATA);
        assert_true(parsed.found); /* as it was */
        assert_null(parsed.wrapped.data);
        assert_null(parsed.envelope.metadata_path);
    }
}

static void takes_jobs_without_errors(void **state)
{
    (void)state;
    static const char *const jobs[] = {
        "{'Errors':''}",     "{'Errors':' \\t\\n'}", "{'Errors':null}", "{'Errors':'null'}",
        "{'Errors':'NULL'}", "{'Errors':[]}",        "{'Errors':{}}",   "{'Errors':'[]'}",
        "{'Errors':'{}'}",   "{'Errors':false}",     "{'Errors':0}",
    };
    for (size_t i = 0; i < KW_COUNT(jobs); i++) {
        struct parsed parsed = parse(NESTED, jobs[i]);
        if (parsed.status != KW_OK)
            fail_msg("%s: %s", jobs[i], parsed.err.message);
        kw_buffer_cleanup(&parsed.wrapped);
    }
}

static void cuts_long_errors_of_the_job(void **state)
{
    (void)state;
    char job[2048] = "{'Errors':'";
    size_t start = strlen(job);
    memset(job + start, 'e', 1500);
    memcpy(job + start + 1500, "'}", 3);
    struct parsed parsed = parse(NESTED, job);
    assert_int_equal(parsed.status, KW_METADATA);
    assert_non_null(strstr(parsed.err.message, "..."));
    assert_non_null(strstr(parsed.err.message, "run the export again"));
}

static void needs_no_error_struct(void **state)
{
    (void)state;
    const struct kw_metadata_text text = {.details = "{", .details_len = 1};
    bool found = false;
    struct kw_envelope envelope;
    struct kw_buffer wrapped = KW_BUFFER_INIT(0);
    assert_int_equal(kw_metadata_parse(&text, &found, &envelope, &wrapped, NULL), KW_METADATA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_arrangement),
        cmocka_unit_test(takes_the_current_layout_first),
        cmocka_unit_test(finds_no_encryption),
        cmocka_unit_test(refuses_every_fault),
        cmocka_unit_test(takes_jobs_without_errors),
        cmocka_unit_test(cuts_long_errors_of_the_job),
        cmocka_unit_test(needs_no_error_struct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
