/* What counts as unusual, and what doesn't: bursts, new clients, new hours, clocks that are set,
 * and a restart in between. */
#include <sys/stat.h>
#include <unistd.h>

#include "serve_test.h"

#include "serve/anomaly_parts.h"

#define MINUTE 60
#define HOUR   3600
#define DAY    86400
#define START  (INT64_C(20000) * DAY) /* at midnight */

static struct kw_anomaly *make(void)
{
    struct kw_error err;
    struct kw_anomaly *anomaly = NULL;
    assert_ok(kw_anomaly_new(&anomaly, &err));
    return anomaly;
}

/* So many unwraps within one minute; the rules that any of them broke. */
static unsigned notes(struct kw_anomaly *anomaly, const char *key, const char *client,
                      unsigned rules, time_t now, int count)
{
    unsigned found = 0;
    for (int i = 0; i < count; i++) {
        struct kw_anomaly_event event = {.rules = 0};
        bool unusual = kw_anomaly_note(anomaly, key, client, rules, now, &event);
        assert_int_equal(unusual, event.rules != 0);
        found |= event.rules;
    }
    return found;
}

/* `count` unwraps each hour of the first so many hours of each day. Nothing of it is unusual. */
static time_t live(struct kw_anomaly *anomaly, const char *key, const char *client, time_t from,
                   int days, int hours, int count)
{
    for (int day = 0; day < days; day++)
        for (int hour = 0; hour < hours; hour++)
            assert_int_equal(notes(anomaly, key, client, KW_ANOMALY_ALL,
                                   from + (time_t)day * DAY + (time_t)hour * HOUR, count),
                             0);
    return from + (time_t)days * DAY;
}

static void a_burst(void **state)
{
    (void)state;
    struct kw_anomaly *anomaly = make();
    time_t now = live(anomaly, "k", "c", START, 3, 24, 5);
    assert_int_equal(notes(anomaly, "k", "c", KW_ANOMALY_ALL, now, 49), 0);
    struct kw_anomaly_event event;
    assert_true(kw_anomaly_note(anomaly, "k", "c", KW_ANOMALY_ALL, now, &event));
    assert_int_equal(event.rules, KW_ANOMALY_RATE);
    assert_int_equal(event.count, 50);
    assert_true(event.usual > 4.99 && event.usual < 5.01);
    assert_int_equal(event.hour, 0);
    /* once an hour, whatever goes on */
    for (int minute = 0; minute < 60; minute++)
        assert_int_equal(
            notes(anomaly, "k", "c", KW_ANOMALY_ALL, now + (time_t)minute * MINUTE, 100), 0);
    assert_int_equal(notes(anomaly, "k", "c", KW_ANOMALY_ALL, now + HOUR, 1000), KW_ANOMALY_RATE);
    kw_anomaly_free(anomaly);
}

static void what_is_no_burst(void **state)
{
    (void)state;
    struct kw_anomaly *anomaly = make();
    time_t now = live(anomaly, "k", "c", START, 3, 24, 1);
    /* ten times as often, but hardly at all */
    assert_int_equal(notes(anomaly, "k", "c", KW_ANOMALY_ALL, now, 19), 0);
    assert_int_equal(notes(anomaly, "k", "c", KW_ANOMALY_ALL, now, 1), KW_ANOMALY_RATE);
    /* on the first day nothing is known yet */
    assert_int_equal(notes(anomaly, "new", "c", KW_ANOMALY_ALL, now, 1000), 0);
    assert_int_equal(notes(anomaly, "new", "c", KW_ANOMALY_ALL, now + DAY - 1, 5000), 0);
    /* a job that is big each day is usual */
    struct kw_anomaly *jobs = make();
    for (int day = 0; day < 30; day++)
        for (int minute = 0; minute < 5; minute++)
            assert_int_equal(notes(jobs, "k", "job", KW_ANOMALY_ALL,
                                   START + (time_t)day * DAY + (time_t)minute * MINUTE, 2000),
                             0);
    kw_anomaly_free(jobs);
    kw_anomaly_free(anomaly);
}

/* Where it grows over weeks, it becomes usual; and one burst does not. */
static void what_is_usual_changes(void **state)
{
    (void)state;
    struct kw_anomaly *anomaly = make();
    time_t now = live(anomaly, "k", "c", START, 3, 24, 5);
    assert_int_equal(notes(anomaly, "k", "c", KW_ANOMALY_ALL, now, 1000000), KW_ANOMALY_RATE);
    assert_int_equal(notes(anomaly, "k", "c", KW_ANOMALY_ALL, now + HOUR, 100), KW_ANOMALY_RATE);
    now += DAY;
    for (int count = 5; count < 200; count++)
        now = live(anomaly, "k", "c", now, 1, 24, count);
    assert_int_equal(notes(anomaly, "k", "c", KW_ANOMALY_ALL, now, 500), 0);
    kw_anomaly_free(anomaly);
}

static void a_new_client(void **state)
{
    (void)state;
    struct kw_anomaly *anomaly = make();
    time_t now = live(anomaly, "k", "c", START, 6, 24, 1);
    assert_int_equal(notes(anomaly, "k", "early", KW_ANOMALY_ALL, now, 1), 0);
    now = live(anomaly, "k", "c", now, 2, 24, 1);
    assert_int_equal(notes(anomaly, "k", "late", KW_ANOMALY_ALL, now, 1), KW_ANOMALY_CLIENT);
    assert_int_equal(notes(anomaly, "k", "late", KW_ANOMALY_ALL, now + 1, 1), 0);
    assert_int_equal(notes(anomaly, "k", "late", KW_ANOMALY_ALL, now + 2 * DAY, 1), 0);
    /* a new key is new to all */
    assert_int_equal(notes(anomaly, "new", "c", KW_ANOMALY_ALL, now, 1), 0);
    assert_int_equal(notes(anomaly, "new", "d", KW_ANOMALY_ALL, now, 1), 0);
    kw_anomaly_free(anomaly);
}

static void a_new_hour(void **state)
{
    (void)state;
    struct kw_anomaly *anomaly = make();
    time_t now = live(anomaly, "k", "c", START, 13, 8, 1); /* 0:00 to 7:00 */
    assert_int_equal(notes(anomaly, "k", "c", KW_ANOMALY_ALL, now + 14 * HOUR, 1), 0);
    now = live(anomaly, "k", "c", now + DAY, 2, 8, 1);
    assert_int_equal(notes(anomaly, "k", "c", KW_ANOMALY_ALL, now + 8 * HOUR, 1), 0);
    assert_int_equal(notes(anomaly, "k", "c", KW_ANOMALY_ALL, now + 23 * HOUR, 1), 0);
    struct kw_anomaly_event event;
    assert_true(kw_anomaly_note(anomaly, "k", "c", KW_ANOMALY_ALL, now + 20 * HOUR, &event));
    assert_int_equal(event.rules, KW_ANOMALY_HOUR);
    assert_int_equal(event.hour, 20);
    assert_int_equal(notes(anomaly, "k", "c", KW_ANOMALY_ALL, now + DAY + 20 * HOUR, 1), 0);
    assert_int_equal(notes(anomaly, "k", "c", KW_ANOMALY_ALL, now + DAY + 15 * HOUR, 1), 0);
    assert_int_equal(notes(anomaly, "k", "c", KW_ANOMALY_ALL, now + 3 * DAY + 17 * HOUR, 1),
                     KW_ANOMALY_HOUR);
    kw_anomaly_free(anomaly);
}

static void rules_that_are_off(void **state)
{
    (void)state;
    static const unsigned off[] = {0, KW_ANOMALY_RATE, KW_ANOMALY_CLIENT, KW_ANOMALY_HOUR,
                                   KW_ANOMALY_RATE | KW_ANOMALY_HOUR};
    for (size_t i = 0; i < KW_COUNT(off); i++) {
        struct kw_anomaly *anomaly = make();
        time_t now = live(anomaly, "k", "c", START, 20, 4, 5);
        unsigned rules = KW_ANOMALY_ALL & ~off[i];
        assert_int_equal(notes(anomaly, "k", "c", rules, now + 12 * HOUR, 500),
                         (KW_ANOMALY_RATE | KW_ANOMALY_HOUR) & rules);
        assert_int_equal(notes(anomaly, "k", "d", rules, now, 1), KW_ANOMALY_CLIENT & rules);
        kw_anomaly_free(anomaly);
    }
}

static void settings(void **state)
{
    (void)state;
    assert_int_equal(kw_anomaly_rules(NULL), 7);
    assert_int_equal(kw_anomaly_rules("none"), 0);
    assert_int_equal(kw_anomaly_rules("rate"), KW_ANOMALY_RATE);
    assert_int_equal(kw_anomaly_rules("hour,client"), KW_ANOMALY_HOUR | KW_ANOMALY_CLIENT);
    assert_int_equal(kw_anomaly_rules("rate , client,  hour"), 7);
    assert_int_equal(kw_anomaly_rules("rates"), 0);
    assert_int_equal(kw_anomaly_rules(""), 0);
    assert_string_equal(kw_anomaly_rule_name(KW_ANOMALY_RATE), "rate");
    assert_string_equal(kw_anomaly_rule_name(KW_ANOMALY_HOUR), "hour");
    assert_string_equal(kw_anomaly_rule_name(KW_ANOMALY_CLIENT), "client");
}

/* ---- clocks ---- */

static void clocks_that_are_set(void **state)
{
    (void)state;
    static const int64_t steps[] = {
        -365 * DAY,          -DAY, -HOUR, -MINUTE, -1, 1, MINUTE, HOUR, DAY, 365 * (int64_t)DAY,
        36500 * (int64_t)DAY};
    for (size_t i = 0; i < KW_COUNT(steps); i++) {
        struct kw_anomaly *anomaly = make();
        time_t now = live(anomaly, "k", "c", START, 20, 24, 5) + steps[i];
        assert_int_equal(notes(anomaly, "k", "c", KW_ANOMALY_ALL, now, 5), 0);
        now = live(anomaly, "k", "c", now + HOUR, 2, 24, 5);
        assert_int_equal(notes(anomaly, "k", "c", KW_ANOMALY_ALL, now, 100), KW_ANOMALY_RATE);
        kw_anomaly_free(anomaly);
    }
    /* a leap is not taken for years of learning */
    struct kw_anomaly *young = make();
    time_t later = live(young, "k", "c", START, 2, 4, 5) + 36500 * (int64_t)DAY;
    assert_int_equal(notes(young, "k", "c", KW_ANOMALY_ALL, later + 12 * HOUR, 1), 0);
    kw_anomaly_free(young);
    /* one that jumps to and fro brings no storm: one event, and then one for each hour at most */
    struct kw_anomaly *anomaly = make();
    time_t now = live(anomaly, "k", "c", START, 20, 24, 5);
    int events = 0;
    for (int i = 0; i < 1000; i++)
        events += notes(anomaly, "k", "c", KW_ANOMALY_ALL, now + (i % 2 ? 1800 : 0), 1000) != 0;
    assert_int_equal(events, 1);
    struct kw_anomaly_event event;
    assert_false(kw_anomaly_note(anomaly, "k", "c", KW_ANOMALY_ALL, -1, &event));
    assert_int_equal(notes(anomaly, "k", "x", KW_ANOMALY_ALL, INT64_MAX, 3), KW_ANOMALY_CLIENT);
    assert_int_equal(notes(anomaly, "k", "x", KW_ANOMALY_ALL, 0, 3), 0);
    kw_anomaly_free(anomaly);
}

/* ---- limits ---- */

static void many_pairs(void **state)
{
    (void)state;
    struct kw_anomaly *anomaly = make();
    char client[32];
    for (int i = 0; i < KW_ANOMALY_PAIRS_MAX * 3; i++) {
        snprintf(client, sizeof(client), "c%d", i);
        assert_int_equal(notes(anomaly, "k", client, KW_ANOMALY_ALL, START + i, 1), 0);
        /* what is used is not forgotten */
        assert_int_equal(notes(anomaly, "k", "often", KW_ANOMALY_ALL, START + i, 1), 0);
        assert_true(anomaly->count <= KW_ANOMALY_PAIRS_MAX);
    }
    assert_non_null(kw_anomaly_find(anomaly, "k", "often"));
    assert_non_null(kw_anomaly_find(anomaly, "k", client));
    assert_null(kw_anomaly_find(anomaly, "k", "c0"));
    size_t reached = 0, hashed = 0;
    for (const struct kw_anomaly_pair *p = anomaly->oldest; p; p = p->newer)
        reached += kw_anomaly_find(anomaly, p->key, p->client) == p;
    for (size_t i = 0; i < KW_ANOMALY_PAIRS_MAX; i++)
        for (const struct kw_anomaly_pair *p = anomaly->hashes[i]; p; p = p->next)
            hashed++;
    assert_int_equal(reached, KW_ANOMALY_PAIRS_MAX);
    assert_int_equal(hashed, KW_ANOMALY_PAIRS_MAX);
    kw_anomaly_free(anomaly);
}

static void long_names(void **state)
{
    (void)state;
    struct kw_anomaly *anomaly = make();
    char name[200];
    struct kw_anomaly_event event;
    memset(name, 'n', sizeof(name));
    name[127] = '\0';
    assert_false(kw_anomaly_note(anomaly, name, name, KW_ANOMALY_ALL, START, &event));
    assert_int_equal(anomaly->count, 1);
    name[127] = 'n';
    name[128] = '\0';
    assert_false(kw_anomaly_note(anomaly, name, "c", KW_ANOMALY_ALL, START, &event));
    assert_false(kw_anomaly_note(anomaly, "k", name, KW_ANOMALY_ALL, START, &event));
    assert_int_equal(anomaly->count, 1);
    kw_anomaly_free(anomaly);
}

/* ---- the file ---- */

static char folder[] = "/tmp/kw-anomaly-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void a_restart(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_anomaly *before = make(), *after = make();
    time_t now = live(before, "k", "c \"1\"", START, 20, 4, 5);
    assert_int_equal(notes(before, "k", "other", KW_ANOMALY_ALL, now, 1), KW_ANOMALY_CLIENT);
    assert_ok(kw_anomaly_load(after, in_folder("state"), &err)); /* there is none */
    assert_ok(kw_anomaly_save(before, in_folder("state"), &err));
    assert_ok(kw_anomaly_save(before, in_folder("state"), &err)); /* over what is there */
    struct stat info;
    assert_int_equal(stat(in_folder("state"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_not_equal(stat(in_folder("state.new"), &info), 0);
    assert_ok(kw_anomaly_load(after, in_folder("state"), &err));
    assert_int_equal(after->count, 2);
    assert_string_equal(after->oldest->client, "c \"1\"");
    assert_int_equal(notes(after, "k", "other", KW_ANOMALY_ALL, now + 1, 1), 0);
    assert_int_equal(notes(after, "k", "third", KW_ANOMALY_ALL, now, 1), KW_ANOMALY_CLIENT);
    assert_int_equal(notes(after, "k", "c \"1\"", KW_ANOMALY_ALL, now + 12 * HOUR, 49),
                     KW_ANOMALY_HOUR);
    assert_int_equal(notes(after, "k", "c \"1\"", KW_ANOMALY_ALL, now + 12 * HOUR, 1),
                     KW_ANOMALY_RATE);
    kw_anomaly_free(before);
    kw_anomaly_free(after);
}

static void a_full_file(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_anomaly *before = make(), *after = make();
    char client[128];
    for (int i = 0; i < KW_ANOMALY_PAIRS_MAX; i++) {
        snprintf(client, sizeof(client), "%0127d", i);
        assert_int_equal(notes(before, "k", client, 0, START + i, 1), 0);
    }
    assert_ok(kw_anomaly_save(before, in_folder("full"), &err));
    assert_ok(kw_anomaly_load(after, in_folder("full"), &err));
    assert_int_equal(after->count, KW_ANOMALY_PAIRS_MAX);
    for (int i = 0; i < KW_ANOMALY_PAIRS_MAX; i++) {
        snprintf(client, sizeof(client), "%0127d", i);
        assert_non_null(kw_anomaly_find(after, "k", client));
    }
    kw_anomaly_free(before);
    kw_anomaly_free(after);
}

#define PAIR "{\"key\":\"k\",\"client\":\"c\",\"last\":1,\"learned\":2,\"minutes\":3,\"mean\":4,"

static void damaged_files(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "{}",
        "[]",
        "{\"version\":1}",
        "{\"version\":2,\"pairs\":[]}",
        "{\"version\":0,\"pairs\":[]}",
        "{\"version\":\"1\",\"pairs\":[]}",
        "{\"version\":1,\"pairs\":{}}",
        "{\"version\":1,\"pairs\":[1]}",
        "{\"version\":1,\"pairs\":[{}]}",
        "{\"version\":1,\"pairs\":[" PAIR "\"hours\":16777216}]}",
        "{\"version\":1,\"pairs\":[" PAIR "\"hours\":-1}]}",
        "{\"version\":1,\"pairs\":[" PAIR "\"hours\":1e999}]}",
        "{\"version\":1,\"pairs\":[" PAIR "\"hours\":\"1\"}]}",
        "{\"version\":1,\"pairs\":[" PAIR "\"hour\":1}]}",
        "{\"version\":1,\"pairs\":[" PAIR "\"hours\":1}," PAIR "\"hours\":1}]}",
        "{\"version\":1,\"pairs\":[" PAIR "\"hours\":1}]} x",
        "{\"version\":1,\"pairs\":[" PAIR "\"hours\":1}]",
        "{\"version\":1,\"pairs\":[{\"key\":\"k\",\"client\":1,\"last\":1,\"learned\":2,"
        "\"minutes\":3,\"mean\":4,\"hours\":1}]}",
        "{\"version\":1,\"pairs\":[{\"key\":\"k\",\"client\":\"c\",\"last\":1e300,\"learned\":2,"
        "\"minutes\":3,\"mean\":4,\"hours\":1}]}",
        "{\"version\":1,\"pairs\":[{\"key\":\"k\",\"client\":\"c\",\"last\":1,\"learned\":2,"
        "\"minutes\":4097,\"mean\":4,\"hours\":1}]}",
        "{\"version\":1,\"pairs\":[{\"key\":\"k\",\"client\":\"c\",\"last\":1,\"learned\":2,"
        "\"minutes\":3,\"mean\":-4,\"hours\":1}]}",
        "{\"version\":1,\"pairs\":[{\"key\":\"0123456789012345678901234567890123456789012345678901"
        "2345678901234567890123456789012345678901234567890123456789012345678901234567\",\"client\":"
        "\"c\",\"last\":1,\"learned\":2,\"minutes\":3,\"mean\":4,\"hours\":1}]}",
    };
    struct kw_error err;
    struct kw_anomaly *anomaly = make();
    static const char good[] = "{\"version\":1,\"pairs\":[" PAIR "\"hours\":1}]}";
    assert_ok(kw_anomaly_parse(anomaly, good, strlen(good), "x", &err));
    assert_int_equal(anomaly->count, 1);
    for (size_t i = 0; i < KW_COUNT(texts); i++) {
        kw_anomaly_clear(anomaly);
        assert_fails(kw_anomaly_parse(anomaly, texts[i], strlen(texts[i]), "x", &err), KW_CONFIG,
                     "x");
        assert_int_equal(anomaly->count, 0);
        assert_int_equal(notes(anomaly, "k", "c", KW_ANOMALY_ALL, START, 3), 0);
    }
    kw_anomaly_free(anomaly);
}

static void files_that_are_no_good(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_anomaly *anomaly = make();
    assert_fails(kw_anomaly_save(anomaly, in_folder("nowhere/x"), &err), KW_WRITE, "nowhere/x");
    assert_int_equal(mkdir(in_folder("dir"), 0700), 0);
    assert_fails(kw_anomaly_save(anomaly, in_folder("dir"), &err), KW_WRITE, "dir");
    assert_fails(kw_anomaly_load(anomaly, in_folder("dir"), &err), KW_CONFIG, "dir");
    assert_int_equal(rmdir(in_folder("dir")), 0);
    assert_ok(kw_anomaly_save(anomaly, in_folder("open"), &err));
    assert_int_equal(chmod(in_folder("open"), 0666), 0);
    assert_fails(kw_anomaly_load(anomaly, in_folder("open"), &err), KW_CONFIG, "open");
    assert_int_equal(symlink("open", in_folder("link")), 0);
    assert_fails(kw_anomaly_load(anomaly, in_folder("link"), &err), KW_READ, "link");
    assert_int_equal(truncate(in_folder("open"), 5 << 20), 0);
    assert_int_equal(chmod(in_folder("open"), 0600), 0);
    assert_fails(kw_anomaly_load(anomaly, in_folder("open"), &err), KW_CONFIG, "open");
    kw_anomaly_free(anomaly);
}

/* ---- threads ---- */

static void *use(void *argument)
{
    struct kw_anomaly *anomaly = argument;
    for (int i = 0; i < 5000; i++) {
        char client[32];
        struct kw_anomaly_event event;
        snprintf(client, sizeof(client), "c%d", i % 97);
        if (kw_anomaly_note(anomaly, "k", client, KW_ANOMALY_ALL, START + i, &event))
            abort();
    }
    return NULL;
}

static void many_threads(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_anomaly *anomaly = make();
    pthread_t threads[4];
    for (size_t i = 0; i < KW_COUNT(threads); i++)
        assert_ok(kw_thread_start(&threads[i], use, anomaly, &err));
    for (int i = 0; i < 20; i++)
        assert_ok(kw_anomaly_save(anomaly, in_folder("threads"), &err));
    for (size_t i = 0; i < KW_COUNT(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(anomaly->count, 97);
    kw_anomaly_free(anomaly);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"state", "full", "open", "link", "threads"};
    for (size_t i = 0; i < KW_COUNT(names); i++)
        (void)unlink(in_folder(names[i]));
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst),
        cmocka_unit_test(what_is_no_burst),
        cmocka_unit_test(what_is_usual_changes),
        cmocka_unit_test(a_new_client),
        cmocka_unit_test(a_new_hour),
        cmocka_unit_test(rules_that_are_off),
        cmocka_unit_test(settings),
        cmocka_unit_test(clocks_that_are_set),
        cmocka_unit_test(many_pairs),
        cmocka_unit_test(long_names),
        cmocka_unit_test(a_restart),
        cmocka_unit_test(a_full_file),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(files_that_are_no_good),
        cmocka_unit_test(many_threads),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
