/* keyward: the program. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

int run_version(const struct arguments *arguments, char **argv)
{
    (void)arguments;
    (void)argv;
    struct kw_error err;
    printf("keyward %s\n", kw_version());
    return finish_output(&err) ? print_error(&err) : 0;
}

int run_help(const struct arguments *arguments, char **argv)
{
    (void)arguments;
    (void)argv;
    struct kw_error err;
    print_overview(all_commands, all_commands_count);
    return finish_output(&err) ? print_error(&err) : 0;
}

int run_completion(const struct arguments *arguments, char **argv)
{
    struct kw_error err;
    (void)argv;
    enum kw_status status = KW_OK;
    if (!print_completion(arguments->operands[0], all_commands, all_commands_count))
        status = kw_fail(&err, KW_USAGE, "there is completion for bash, zsh and fish");
    else
        status = finish_output(&err);
    return status ? print_error(&err) : 0;
}

/* How many words at argv the name begins with; *ret_whole: these are all that it has. */
static int match_words(const char *name, int argc, char **argv, bool *ret_whole)
{
    int words = 0;
    *ret_whole = false;
    while (words < argc && !*ret_whole) {
        size_t len = strlen(argv[words]);
        if (len == 0 || strncmp(name, argv[words], len) != 0 ||
            (name[len] != ' ' && name[len] != '\0'))
            break;
        *ret_whole = name[len] == '\0';
        name += len + 1;
        words++;
    }
    return words;
}

/* The subcommand whose words are at argv; *ret_words is how many they are. */
static const struct subcommand *find_command(int argc, char **argv, int *ret_words)
{
    for (size_t i = 0; i < all_commands_count; i++) {
        bool whole = false;
        *ret_words = match_words(all_commands[i].name, argc, argv, &whole);
        if (whole)
            return &all_commands[i];
    }
    return NULL;
}

/* Subcommands whose names have the first words in common, as `key` or `byok kek`. */
struct group {
    const struct subcommand *first;
    size_t count;
    int words; /* that they have in common; 0: there is no such group */
    int len;   /* of these, in bytes */
};

static struct group find_group(int argc, char **argv)
{
    struct group group = {.first = all_commands};
    for (size_t i = 0; i < all_commands_count; i++) {
        bool whole = false;
        int words = match_words(all_commands[i].name, argc, argv, &whole);
        if (words > group.words)
            group = (struct group){.first = &all_commands[i], .words = words};
        group.count += words == group.words;
    }
    group.len = group.words - 1;
    for (int i = 0; i < group.words; i++)
        group.len += (int)strlen(argv[i]);
    return group;
}

/* The words at argv are no subcommand: shows those that begin with them if that was asked for, or
 * says what is wrong. */
static int run_group(int argc, char **argv, bool help)
{
    struct kw_error err;
    char shown[SHOWN_TEXT];
    const struct group group = find_group(argc, argv);
    const char *name = group.first->name;
    const char *next = group.words < argc ? argv[group.words] : NULL;
    if (next && (strcmp(next, "--help") == 0 || strcmp(next, "-h") == 0))
        help = true;
    if (group.words == 0)
        (void)kw_fail(&err, KW_USAGE, "there is no subcommand \"%s\"; keyward help lists them",
                      show(argv[0], shown));
    else if (next && next[0] != '-')
        (void)kw_fail(&err, KW_USAGE,
                      "there is no subcommand \"%.*s %s\"; keyward help %.*s lists them", group.len,
                      name, show(next, shown), group.len, name);
    else if (!help)
        (void)kw_fail(&err, KW_USAGE,
                      "\"%.*s\" needs another word after it; keyward help %.*s lists them",
                      group.len, name, group.len, name);
    else {
        print_group(group.first, group.count);
        return finish_output(&err) ? print_error(&err) : 0;
    }
    return print_error(&err);
}

/* A file that is opened must never get the number of a standard stream that was closed: messages
 * would go into it. What stands in for a stream can't be written to, so that doing so still fails.
 */
static void fill_standard_streams(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    kw_close(&fd);
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.config = NULL};
    struct kw_error err;
    int next = 0;
    int words = 0;
    fill_standard_streams();
    catch_signals();
    if (parse_global(argc, argv, &arguments, &next, &err))
        return print_error(&err);
    if (arguments.version)
        return run_version(&arguments, argv);
    if (arguments.help)
        return run_help(&arguments, argv);
    if (next >= argc) {
        (void)kw_fail(&err, KW_USAGE, "no subcommand is given; keyward help lists them");
        return print_error(&err);
    }
    const struct subcommand *command = find_command(argc - next, argv + next, &words);
    if (command && command->run == run_help && next + 1 < argc && argv[next + 1][0] != '-') {
        command = find_command(argc - next - 1, argv + next + 1, &words);
        arguments.help = true;
        next++;
    }
    if (!command)
        return run_group(argc - next, argv + next, arguments.help);
    int skip = next + words - 1;
    if (!arguments.help && parse_arguments(command, argc - skip, argv + skip, &arguments, &err))
        return print_error(&err);
    if (arguments.help) {
        print_help(command);
        return finish_output(&err) ? print_error(&err) : 0;
    }
    arguments.command = command->name;
    int exit_code = command->run(&arguments, argv);
    /* What the module does at exit() could wait for the thread that hangs in it. */
    if (kw_longest_hang_ms() > 0) {
        (void)fflush(stdout);
        _exit(exit_code);
    }
    return exit_code;
}
