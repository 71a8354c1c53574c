/* Metadata texts for tests, written short. */
#include "metadata_text.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"

#define WORD_MAX 512
#define TEXT_MAX ((size_t)1 << 20)

void test_bytes(uint8_t seed, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(seed + i * 7);
}

static void encode(enum kw_base64 alphabet, uint8_t seed, size_t len, char out[WORD_MAX])
{
    uint8_t bytes[256];
    test_bytes(seed, bytes, len);
    kw_base64_encode(alphabet, bytes, len, out);
}

static const struct {
    char letter;
    enum kw_base64 alphabet;
    uint8_t seed;
    size_t len;
} encoded[] = {
    {'V', KW_BASE64, 1, 256}, {'W', KW_BASE64, 2, 256}, {'U', KW_BASE64URL, 1, 256},
    {'I', KW_BASE64, 3, 16},  {'J', KW_BASE64, 4, 16},  {'T', KW_BASE64URL, 3, 16},
};

static const struct {
    char letter;
    const char *text;
} literal[] = {
    {'K', TEST_VERSION},
    {'L', TEST_OTHER_VERSION},
    {'B', "\xEF\xBB\xBF"},
};

static void word_for(char letter, char out[WORD_MAX])
{
    for (size_t i = 0; i < KW_COUNT(encoded); i++) {
        if (encoded[i].letter == letter) {
            encode(encoded[i].alphabet, encoded[i].seed, encoded[i].len, out);
            return;
        }
    }
    for (size_t i = 0; i < KW_COUNT(literal); i++) {
        if (literal[i].letter == letter) {
            memcpy(out, literal[i].text, strlen(literal[i].text) + 1);
            return;
        }
    }
    abort();
}

char *test_expand(const char *pattern)
{
    struct kw_buffer text = KW_BUFFER_INIT(TEXT_MAX);
    enum kw_status status = KW_OK;
    for (const char *at = pattern; *at && status == KW_OK; at++) {
        char word[WORD_MAX] = {*at == '\'' ? '"' : *at, '\0'};
        if (*at == '$')
            word_for(*++at, word);
        status = kw_buffer_append(&text, word, strlen(word), NULL);
    }
    if (status == KW_OK)
        status = kw_buffer_append(&text, "", 1, NULL);
    if (status != KW_OK)
        abort();
    return (char *)text.data;
}
