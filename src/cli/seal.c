/* keyward seal: the sender's side. */
#include <string.h>

#include "cli.h"

static bool go_on(void *context, uint64_t bytes)
{
    (void)context;
    (void)bytes;
    return !stop_requested();
}

static enum kw_status make_options(const struct arguments *arguments,
                                   struct kw_seal_options *options, struct kw_error *err)
{
    *options = (struct kw_seal_options){
        .public_key = arguments->public_key,
        .key = arguments->key,
        .version = arguments->key_version,
        .alg = KW_RSA_OAEP,
        .format = KW_DROP_DATA_CONNECT,
        .gzip = !arguments->compress || strcmp(arguments->compress, "gzip") == 0,
        .tick = go_on,
    };
    if (!arguments->out)
        return kw_fail(err, KW_USAGE, "seal needs --out DROP, the folder to make");
    if (!arguments->public_key == !arguments->key)
        return kw_fail(err, KW_USAGE, "seal needs either --public-key FILE or --key URI-or-NAME");
    if (arguments->wrap_alg && !kw_wrap_alg_parse(arguments->wrap_alg, &options->alg))
        return kw_fail(err, KW_USAGE, "--wrap-alg is not known");
    if (arguments->layout && strcmp(arguments->layout, "viva-insights") == 0)
        options->format = KW_DROP_VIVA_INSIGHTS;
    return KW_OK;
}

int run_seal(const struct arguments *arguments, char **argv)
{
    struct kw_seal_options options;
    struct kw_seal_totals totals;
    struct kw_keyring *keyring = NULL;
    struct kw_error err;
    char in[SIZE_TEXT];
    char out[SIZE_TEXT];
    char shown[SHOWN_TEXT];
    enum kw_status status;
    if (!(status = make_options(arguments, &options, &err)) &&
        !(status = kw_outdir_open(arguments->out, true, &options.output, &err)) &&
        !(status = open_keyring(arguments, argv, &keyring, &err)))
        status = kw_seal(keyring, arguments->operands[0], arguments->out, &options, &totals, &err);
    if (!status && !arguments->quiet) {
        printf("%llu files sealed to %s: %s in, %s out\n", (unsigned long long)totals.files,
               show(arguments->out, shown), show_size(totals.bytes_in, in),
               show_size(totals.bytes_out, out));
        status = finish_output(&err);
    }
    print_keyring_warnings(keyring, arguments);
    kw_outdir_free(options.output);
    kw_keyring_free(keyring);
    return status ? print_error(&err) : 0;
}
