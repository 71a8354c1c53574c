/* Shell completion, printed from the tables of subcommands and options. */
#include <string.h>

#include "cli.h"

/* Names of subcommands have one word or more: "key" and "byok kek" are stems that others follow. */

/* The length of the first `words` words of a name; 0 where it has no more than that. */
static size_t stem_length(const char *name, size_t words)
{
    const char *at = name;
    for (size_t i = 0; i < words; i++) {
        at = strchr(at, ' ');
        if (!at)
            return 0;
        at++;
    }
    return (size_t)(at - name);
}

/* Whether an earlier name begins with the same `len` bytes, at the end of a word. */
static bool seen_before(const struct subcommand *commands, size_t index, size_t len)
{
    for (size_t i = 0; i < index; i++)
        if (strncmp(commands[i].name, commands[index].name, len) == 0 &&
            (commands[i].name[len] == ' ' || commands[i].name[len] == '\0'))
            return true;
    return false;
}

/* The words that may follow what name `index` begins with, up to `len`, each once. */
static void print_next_words(const struct subcommand *commands, size_t count, size_t index,
                             size_t len)
{
    for (size_t i = 0; i < count; i++) {
        if (strncmp(commands[i].name, commands[index].name, len) != 0)
            continue;
        size_t next = strcspn(commands[i].name + len, " ");
        if (!seen_before(commands, i, len + next))
            printf(" %.*s", (int)next, commands[i].name + len);
    }
}

/* Calls `print` for each stem of one word or two, once; `len` has the space after it. */
static void for_each_stem(const struct subcommand *commands, size_t count,
                          void (*print)(const struct subcommand *commands, size_t count,
                                        size_t index, size_t len))
{
    for (size_t words = 1; words <= 2; words++)
        for (size_t i = 0; i < count; i++) {
            size_t len = stem_length(commands[i].name, words);
            if (len > 0 && !seen_before(commands, i, len - 1))
                print(commands, count, i, len);
        }
}

static void print_words(const char *choices)
{
    for (; *choices; choices++)
        (void)putchar(*choices == '|' ? ' ' : *choices);
}

/* ---- bash, and zsh through its own emulation ---- */

static void print_bash_options(const struct subcommand *command)
{
    printf("    '%s')\n        options='--config --help", command->name);
    for (size_t i = 0; i < command->option_count; i++)
        printf(" --%s", command->options[i].name);
    printf("'\n        case $previous in\n");
    for (size_t i = 0; i < command->option_count; i++) {
        if (command->options[i].kind != OPTION_CHOICE)
            continue;
        printf("        --%s) words='", command->options[i].name);
        print_words(command->options[i].argument);
        printf("' ;;\n");
    }
    printf("        esac\n        ;;\n");
}

static void print_bash_stem(const struct subcommand *commands, size_t count, size_t index,
                            size_t len)
{
    (void)count;
    printf("|'%.*s'", (int)len - 1, commands[index].name);
}

static void print_bash_next(const struct subcommand *commands, size_t count, size_t index,
                            size_t len)
{
    printf("    '%.*s') words='", (int)len - 1, commands[index].name);
    print_next_words(commands, count, index, len);
    printf("' ;;\n");
}

static void print_bash(const struct subcommand *commands, size_t count)
{
    printf("# bash completion for keyward, made by: keyward completion bash\n"
           "_keyward()\n{\n"
           "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
           "    local command='' options='' words='' next i\n"
           "    COMPREPLY=()\n"
           "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
           "        next=\"$command${command:+ }${COMP_WORDS[i]}\"\n"
           "        case $next in\n        ''");
    for_each_stem(commands, count, print_bash_stem);
    for (size_t i = 0; i < count; i++)
        printf("|'%s'", commands[i].name);
    printf(") command=$next ;;\n        *) break ;;\n        esac\n    done\n"
           "    [ \"$i\" -lt \"$COMP_CWORD\" ] || case $command in\n    '') words='");
    print_next_words(commands, count, 0, 0);
    printf("' ;;\n");
    for_each_stem(commands, count, print_bash_next);
    printf("    esac\n    case $command in\n");
    for (size_t i = 0; i < count; i++)
        print_bash_options(&commands[i]);
    printf("    esac\n"
           "    [ -n \"$words\" ] || [[ $current != -* ]] || words=$options\n"
           "    [ -z \"$words\" ] || COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
           "}\n"
           "complete -o default -F _keyward keyward\n");
}

static void print_zsh(const struct subcommand *commands, size_t count)
{
    printf("#compdef keyward\nautoload -U +X bashcompinit && bashcompinit\n");
    print_bash(commands, count);
}

/* ---- fish ---- */

/* In single quotes. */
static void print_fish_text(const char *text)
{
    (void)putchar('\'');
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\')
            (void)putchar('\\');
        (void)putchar(*text);
    }
    (void)putchar('\'');
}

/* All words of the stem or name were seen. */
static void print_fish_condition(const char *name, size_t len)
{
    printf("complete -c keyward -n '");
    for (size_t at = 0; at < len;) {
        size_t word = strcspn(name + at, " ");
        printf("%s__fish_seen_subcommand_from %.*s", at ? "; and " : "", (int)word, name + at);
        at += word + 1;
    }
    printf("'");
}

static void print_fish_option(const struct subcommand *command, const struct option_row *row)
{
    print_fish_condition(command->name, strlen(command->name));
    printf(" -l %s", row->name);
    if (row->letter)
        printf(" -s %c", row->letter);
    if (row->kind == OPTION_CHOICE) {
        printf(" -x -a '");
        print_words(row->argument);
        printf("'");
    } else if (row->kind != OPTION_SET) {
        printf(" -r");
    }
    printf(" -d ");
    print_fish_text(row->help);
    printf("\n");
}

static void print_fish_next(const struct subcommand *commands, size_t count, size_t index,
                            size_t len)
{
    print_fish_condition(commands[index].name, len - 1);
    printf(" -f -a '");
    print_next_words(commands, count, index, len);
    printf("'\n");
}

static void print_fish(const struct subcommand *commands, size_t count)
{
    printf("# fish completion for keyward, made by: keyward completion fish\n"
           "complete -c keyward -n __fish_use_subcommand -f -a '");
    print_next_words(commands, count, 0, 0);
    printf("'\n");
    for_each_stem(commands, count, print_fish_next);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < commands[i].option_count; j++)
            print_fish_option(&commands[i], &commands[i].options[j]);
}

bool print_completion(const char *shell, const struct subcommand *commands, size_t count)
{
    static const struct {
        const char *shell;
        void (*print)(const struct subcommand *commands, size_t count);
    } shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
    for (size_t i = 0; i < KW_COUNT(shells); i++) {
        if (strcmp(shells[i].shell, shell) != 0)
            continue;
        shells[i].print(commands, count);
        return true;
    }
    return false;
}
