/* What the files of src/run share. */
#ifndef KW_RUN_INTERNAL_H
#define KW_RUN_INTERNAL_H

#include "run.h"

#define KW_RUN_MAX_WARNINGS 256
#define KW_MAX_JOBS         256

/* What was asked for, or else configured, or else the default: settings.c */
struct settings {
    bool gzip;
    bool digest;
    unsigned jobs;
};
enum kw_status kw_settings_resolve(const struct kw_keyring *keyring, const char *decompress,
                                   const char *digest, unsigned jobs, struct settings *ret_settings,
                                   struct kw_error *err);

/* ---- a run: decrypt.c, plan.c, workers.c, report.c ---- */

/* One file of a run. */
struct run_file {
    const struct kw_drop_file *file;
    enum kw_flow_work work; /* decrypt or copy */
    enum kw_file_status status;
    bool has_sha256;
    uint8_t sha256[KW_SHA256_SIZE];
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t milliseconds;
    enum kw_status failure; /* of a file that failed */
    char *message;          /* its sentence; owned, NULL where memory ran out */
};

struct kw_run {
    struct kw_keyring *keyring;
    const char *drop_path;
    const char *out_dir;
    const struct kw_decrypt_options *options;

    char id[33]; /* 16 random bytes in hex */
    time_t started;
    uint64_t started_ms;
    uint64_t milliseconds;

    struct kw_drop *own_drop; /* opened by the run */
    const struct kw_drop *drop;
    struct settings settings;
    struct kw_unlocked unlocked;
    bool unwrapped; /* unlocked.data_key.alg is known */
    struct kw_outdir *outdir;
    struct run_file *files;
    size_t file_count;
    uint64_t bytes_total;
    struct kw_strings warnings;
    size_t warnings_before; /* the keyring's, that are not this run's */
};

/* Chooses the files of the run and makes sure that none of them is there already. */
enum kw_status kw_run_plan(struct kw_run *run, struct kw_error *err);
/* Takes each file through its flow. KW_OK, or the failure that describes the run best. */
enum kw_status kw_run_work(struct kw_run *run, struct kw_error *err);

#endif
