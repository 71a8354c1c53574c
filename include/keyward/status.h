/* keyward/status.h - what went wrong, for a program and for a person. */
#ifndef KEYWARD_STATUS_H
#define KEYWARD_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define KW_API                   __attribute__((visibility("default")))
#define KW_PRINTF(string, first) __attribute__((__format__(__printf__, string, first)))
#else
#define KW_API
#define KW_PRINTF(string, first)
#endif

/* A status belongs to the family status / 100. The family is the exit code of the program, the
 * same for every subcommand (keyward(1), EXIT STATUS). */
enum kw_status {
    KW_OK = 0,
    KW_FAULT = 100,           /* a fault of the program itself */
    KW_NO_MEMORY = 101,       /* out of memory, or of memory that can be locked */
    KW_USAGE = 200,           /* the call or the command line makes no sense */
    KW_CONFIG = 300,          /* a configuration file, a URI or a setting is wrong */
    KW_PIN_MISSING = 301,     /* a PIN is needed and there is none */
    KW_PIN_WRONG = 302,       /* the token refused the PIN; it was sent once */
    KW_PIN_LOCKED = 303,      /* locked, or one more wrong try would lock it */
    KW_DENIED = 304,          /* who asks may not do that */
    KW_DROP = 400,            /* the drop's folder or files are not what a drop has */
    KW_METADATA = 401,        /* the metadata can't be read or contradicts itself */
    KW_NOT_ENCRYPTED = 402,   /* no metadata says how it was encrypted */
    KW_KEY_NOT_FOUND = 500,   /* no token has the key */
    KW_KEY_AMBIGUOUS = 501,   /* more than one key answers to the name */
    KW_KEY_UNWRAP = 502,      /* the key does not unwrap; one status for every cause */
    KW_KEY_UNUSABLE = 503,    /* the key, or the token, does not do what is asked */
    KW_MODULE = 600,          /* the PKCS#11 module can't be loaded or initialised */
    KW_TOKEN_NOT_FOUND = 601, /* no token, or more than one, matches the URI */
    KW_TOKEN = 602,           /* the token failed */
    KW_DAMAGED = 700,         /* the ciphertext or what is in it is damaged */
    KW_READ = 800,            /* reading failed */
    KW_WRITE = 801,           /* writing failed */
    KW_EXISTS = 802,          /* the output exists already */
    KW_AUDIT = 900,           /* the audit trail can't be used, or was changed */
    KW_INTERRUPTED = 13000    /* a signal, or the caller, asked to stop */
};

#define KW_MESSAGE_SIZE 512

/* Filled by a function that fails, untouched by one that succeeds. `message` is one sentence: it
 * names the thing and says what to do next. It never holds a PIN, a key or plaintext. */
struct kw_error {
    enum kw_status status;
    unsigned long ck_rv; /* the token's CK_RV, 0 where there is none */
    int sys_errno;       /* errno, 0 where there is none */
    char message[KW_MESSAGE_SIZE];
};

/* The exit code that belongs to a status: its family. */
KW_API int kw_exit_code(enum kw_status status);

/* A word for a status, such as "pin-wrong", for reports and scripts. Static memory. */
KW_API const char *kw_status_name(enum kw_status status);

#ifdef __cplusplus
}
#endif
#endif
