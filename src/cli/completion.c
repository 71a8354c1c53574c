/* Shell completion, printed from the tables of subcommands and options. */
#include <string.h>

#include "cli.h"

static size_t first_word_length(const char *name)
{
    return strcspn(name, " ");
}

/* Whether an earlier row begins with the same word, as "key show" after "key list". */
static bool seen_before(const struct subcommand *commands, size_t index)
{
    size_t len = first_word_length(commands[index].name);
    for (size_t i = 0; i < index; i++)
        if (first_word_length(commands[i].name) == len &&
            strncmp(commands[i].name, commands[index].name, len) == 0)
            return true;
    return false;
}

static void print_first_words(const struct subcommand *commands, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!seen_before(commands, i))
            printf("%s%.*s", i ? " " : "", (int)first_word_length(commands[i].name),
                   commands[i].name);
}

static void print_second_words(const struct subcommand *commands, size_t count, const char *first,
                               size_t len)
{
    for (size_t i = 0; i < count; i++)
        if (strncmp(commands[i].name, first, len) == 0 && commands[i].name[len] == ' ')
            printf(" %s", commands[i].name + len + 1);
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

static void print_bash(const struct subcommand *commands, size_t count)
{
    printf("# bash completion for keyward, made by: keyward completion bash\n"
           "_keyward()\n{\n"
           "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
           "    local command=${COMP_WORDS[1]-} options='' words=''\n"
           "    COMPREPLY=()\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        words='");
    print_first_words(commands, count);
    printf("'\n    fi\n    case $command in\n");
    for (size_t i = 0; i < count; i++) {
        size_t len = first_word_length(commands[i].name);
        if (commands[i].name[len] == '\0' || seen_before(commands, i))
            continue;
        printf("    %.*s)\n        [ \"$COMP_CWORD\" -eq 2 ] && words='", (int)len,
               commands[i].name);
        print_second_words(commands, count, commands[i].name, len);
        printf("'\n        command=\"$command ${COMP_WORDS[2]-}\"\n        ;;\n");
    }
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

static void print_fish_condition(const char *name)
{
    size_t len = first_word_length(name);
    printf("complete -c keyward -n '__fish_seen_subcommand_from %.*s", (int)len, name);
    if (name[len] == ' ')
        printf("; and __fish_seen_subcommand_from %s", name + len + 1);
    printf("'");
}

static void print_fish_option(const struct subcommand *command, const struct option_row *row)
{
    print_fish_condition(command->name);
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

static void print_fish(const struct subcommand *commands, size_t count)
{
    printf("# fish completion for keyward, made by: keyward completion fish\n"
           "complete -c keyward -n __fish_use_subcommand -f -a '");
    print_first_words(commands, count);
    printf("'\n");
    for (size_t i = 0; i < count; i++) {
        size_t len = first_word_length(commands[i].name);
        if (commands[i].name[len] == ' ' && !seen_before(commands, i)) {
            printf("complete -c keyward -n '__fish_seen_subcommand_from %.*s' -f -a '", (int)len,
                   commands[i].name);
            print_second_words(commands, count, commands[i].name, len);
            printf("'\n");
        }
        for (size_t j = 0; j < commands[i].option_count; j++)
            print_fish_option(&commands[i], &commands[i].options[j]);
    }
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
