/* Options from tables: parsing and help. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define MAX_OPTIONS 32

static const struct option_row common[] = {
    {"config", 'c', OPTION_TEXT, "FILE", FIELD(config), 0,
     "read FILE after the usual configuration files"},
    {"no-sandbox", 0, OPTION_SET, NULL, FIELD(no_sandbox), 1,
     "do not confine the process; the audit trail says so"},
    {"help", 'h', OPTION_SET, NULL, FIELD(help), 1, "show this help"},
};

static const struct option_row before_subcommand[] = {
    {"version", 0, OPTION_SET, NULL, FIELD(version), 1, "print the version"},
};

/* What getopt_long wants, made of the rows. `rows[i]` is what its i-th long option means. */
struct getopt_tables {
    const struct option_row *rows[MAX_OPTIONS];
    struct option options[MAX_OPTIONS + 1];
    char letters[2 * MAX_OPTIONS + 2];
    size_t count;
};

static void add_rows(struct getopt_tables *tables, const struct option_row *rows, size_t count)
{
    size_t used = strlen(tables->letters);
    for (size_t i = 0; i < count && tables->count < MAX_OPTIONS; i++) {
        bool has_argument = rows[i].kind != OPTION_SET;
        tables->rows[tables->count] = &rows[i];
        tables->options[tables->count++] =
            (struct option){.name = rows[i].name, .has_arg = has_argument, .flag = NULL, .val = 0};
        if (rows[i].letter)
            tables->letters[used++] = rows[i].letter;
        if (rows[i].letter && has_argument)
            tables->letters[used++] = ':';
    }
}

static const struct option_row *row_of_letter(const struct getopt_tables *tables, int letter)
{
    for (size_t i = 0; i < tables->count; i++)
        if (tables->rows[i]->letter == letter)
            return tables->rows[i];
    return NULL;
}

static bool is_choice(const char *choices, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = choices; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
        if (len > 0 && strncmp(at, word, len) == 0 && (at[len] == '|' || at[len] == '\0'))
            return true;
    return false;
}

static enum kw_status store_number(const struct option_row *row, const char *text, long *field,
                                   struct kw_error *err)
{
    char *end = NULL;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno || end == text || *end != '\0' || number < 1 || number > row->value)
        return kw_fail(err, KW_USAGE, "--%s is a number from 1 to %d", row->name, row->value);
    *field = number;
    return KW_OK;
}

static enum kw_status store_in_list(const struct option_row *row, const char *text, char *at,
                                    struct kw_error *err)
{
    const char **globs = (const char **)(void *)at;
    size_t *count = (size_t *)(void *)(at + MAX_GLOBS * sizeof(*globs));
    if (*count == MAX_GLOBS)
        return kw_fail(err, KW_USAGE, "--%s may be given at most %d times", row->name, MAX_GLOBS);
    globs[(*count)++] = text;
    return KW_OK;
}

static enum kw_status store(const struct option_row *row, const char *text,
                            struct arguments *arguments, struct kw_error *err)
{
    char *at = (char *)arguments + row->offset;
    char shown[SHOWN_TEXT];
    switch (row->kind) {
    case OPTION_SET:
        *(int *)(void *)at = row->value;
        return KW_OK;
    case OPTION_CHOICE:
        if (!is_choice(row->argument, text))
            return kw_fail(err, KW_USAGE, "--%s is one of %s, not \"%s\"", row->name, row->argument,
                           show(text, shown));
        *(const char **)(void *)at = text;
        return KW_OK;
    case OPTION_TEXT:
        if (text[0] == '\0')
            return kw_fail(err, KW_USAGE, "--%s is empty", row->name);
        *(const char **)(void *)at = text;
        return KW_OK;
    case OPTION_NUMBER:
        return store_number(row, text, (long *)(void *)at, err);
    case OPTION_LIST:
        return store_in_list(row, text, at, err);
    }
    return kw_fail(err, KW_FAULT, "option --%s has no kind", row->name);
}

static enum kw_status parse_options(struct getopt_tables *tables, int argc, char **argv,
                                    struct arguments *arguments, struct kw_error *err)
{
    char shown[SHOWN_TEXT];
    optind = 0; /* glibc: start anew */
    opterr = 0;
    for (;;) {
        int index = -1;
        int found = getopt_long(argc, argv, tables->letters, tables->options, &index);
        if (found == -1)
            return KW_OK;
        const char *word = argv[optind > 0 ? optind - 1 : 0];
        if (found == ':')
            return kw_fail(err, KW_USAGE, "%s needs an argument; see --help", show(word, shown));
        const struct option_row *row =
            index >= 0 && found == 0 ? tables->rows[index] : row_of_letter(tables, found);
        if (found == '?' || !row)
            return kw_fail(err, KW_USAGE,
                           "option %s is unknown, or takes no argument; see "
                           "--help",
                           show(word, shown));
        enum kw_status status = store(row, optarg, arguments, err);
        if (status)
            return status;
    }
}

/* The help's text is what says which ones may be left out, so that both always agree. */
static size_t least_operands(const struct subcommand *command)
{
    size_t least = command->operand_count;
    for (const char *at = command->operands; *at && least > 0; at++)
        least -= *at == '[';
    return least;
}

enum kw_status parse_arguments(const struct subcommand *command, int argc, char **argv,
                               struct arguments *arguments, struct kw_error *err)
{
    struct getopt_tables tables = {.letters = ":"};
    add_rows(&tables, command->options, command->option_count);
    add_rows(&tables, common, KW_COUNT(common));
    enum kw_status status = parse_options(&tables, argc, argv, arguments, err);
    if (status || arguments->help)
        return status;
    size_t count = (size_t)(argc - optind);
    if (count < least_operands(command) || count > command->operand_count)
        return kw_fail(err, KW_USAGE, "usage: keyward %s [OPTION]...%s%s; see keyward %s --help",
                       command->name, command->operands[0] ? " " : "", command->operands,
                       command->name);
    for (size_t i = 0; i < count; i++)
        arguments->operands[i] = argv[(size_t)optind + i];
    return KW_OK;
}

enum kw_status parse_global(int argc, char **argv, struct arguments *arguments, int *ret_next,
                            struct kw_error *err)
{
    struct getopt_tables tables = {.letters = "+:"};
    add_rows(&tables, common, KW_COUNT(common));
    add_rows(&tables, before_subcommand, KW_COUNT(before_subcommand));
    enum kw_status status = parse_options(&tables, argc, argv, arguments, err);
    if (!status)
        *ret_next = optind;
    return status;
}

static void print_row(const struct option_row *row)
{
    char left[96];
    char letter[8] = "    ";
    if (row->letter)
        (void)snprintf(letter, sizeof(letter), "-%c, ", row->letter);
    (void)snprintf(left, sizeof(left), "%s--%s%s%s", letter, row->name, row->argument ? " " : "",
                   row->argument ? row->argument : "");
    if (strlen(left) < 30)
        printf("  %-30s %s\n", left, row->help);
    else
        printf("  %s\n  %-30s %s\n", left, "", row->help);
}

void print_help(const struct subcommand *command)
{
    printf("usage: keyward %s [OPTION]...%s%s\n\n%s\n\n", command->name,
           command->operands[0] ? " " : "", command->operands, command->summary);
    for (size_t i = 0; i < command->option_count; i++)
        print_row(&command->options[i]);
    for (size_t i = 0; i < KW_COUNT(common); i++)
        print_row(&common[i]);
}

static void print_summaries(const struct subcommand *commands, size_t count)
{
    for (size_t i = 0; i < count; i++)
        printf("  %-17s %s\n", commands[i].name, commands[i].summary);
}

void print_group(const struct subcommand *commands, size_t count)
{
    print_summaries(commands, count);
    printf("\nkeyward SUBCOMMAND --help lists the options of each.\n");
}

void print_overview(const struct subcommand *commands, size_t count)
{
    printf("usage: keyward [--config FILE] SUBCOMMAND [OPTION]... [OPERAND]...\n\n"
           "Decrypts data drops with an RSA key that never leaves its PKCS#11 token.\n\n");
    print_summaries(commands, count);
    printf("\nkeyward SUBCOMMAND --help lists the options of each; man keyward says more.\n\n"
           "Exit status: 0 done, 2 usage, 3 configuration or PIN, 4 the drop or its metadata,\n"
           "5 no usable key, 6 the token, 7 damaged data (what was good is written),\n"
           "8 reading or writing files, 9 the audit trail, 130 interrupted,\n"
           "1 a fault of the program.\n");
}
