/* The configuration: each fault with its line, the limits, and which files are trusted. */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base_test.h"

static enum kw_status parse(struct kw_config *config, const char *text, struct kw_error *err)
{
    size_t len = strlen(text);
    char *exact = malloc(len ? len : 1); /* a read beyond its end is seen by a sanitizer */
    assert_non_null(exact);
    memcpy(exact, text, len);
    enum kw_status status = kw_config_parse(config, exact, len, "x.conf", err);
    free(exact);
    return status;
}

static void everything_set(void **state)
{
    (void)state;
    static const char text[] = "\xEF\xBB\xBF# a comment = x\r\n"
                               "; another\n"
                               "\t[token hsm one]  # inline\n"
                               "  uri = pkcs11:token=a;object=b?module-name=c ; inline\n"
                               "module=/usr/lib/x.so\n"
                               "init-args = configdir='sql:/x' flags=readOnly\n"
                               "pin-source = file:/run/pin\n"
                               "sessions = 1024\r\n"
                               "timeout = 3600\n"
                               "give-up = 86400\n"
                               "failover = two\n"
                               "failover-probe = 1\n"
                               "[token two]\n"
                               "[key 0123ab]\n"
                               "uri = pkcs11:object=k#1\n"
                               "[keys]\n"
                               "retention-days = 3650\n"
                               "purge-protection = yes\n"
                               "records-key = my signer\n"
                               "catalogue = /var/lib/x/keys.db\n"
                               "[ run ]\n"
                               "token = hsm one\n"
                               "unwrap-alg = RSA-OAEP-256\n"
                               "decompress = none\n"
                               "digest = sha256\n"
                               "jobs = 1\n"
                               "allow-rsa1_5 = no\n"
                               "[audit]\n"
                               "checkpoint-interval = 86400\n"
                               "journald = /run/x\n"
                               "syslog = [fe80::1%eth0]:65535\n"
                               "forward-timeout = 60000\n"
                               "[crypto]\n"
                               "fips = yes\n"
                               "[sandbox]\n"
                               "enabled = no\n"
                               "required = yes\n"
                               "read = /opt/vendor:/etc/vendor.conf\n"
                               "write = /var/lib/vendor\n"
                               "network = unix\n";
    struct kw_error err;
    struct kw_config config = {.tokens = NULL};
    assert_ok(parse(&config, text, &err));
    assert_int_equal(config.token_count, 2);
    const struct kw_config_token *token = kw_config_find_token(&config, "hsm one");
    assert_non_null(token);
    assert_string_equal(token->uri, "pkcs11:token=a;object=b?module-name=c");
    assert_string_equal(token->module, "/usr/lib/x.so");
    assert_string_equal(token->init_args, "configdir='sql:/x' flags=readOnly");
    assert_string_equal(token->pin_source, "file:/run/pin");
    assert_int_equal(token->sessions, 1024);
    assert_int_equal(token->timeout_s, 3600);
    assert_int_equal(token->give_up_s, 86400);
    assert_string_equal(token->failover, "two");
    assert_int_equal(token->failover_probe_s, 1);
    token = kw_config_find_token(&config, "two");
    assert_non_null(token);
    assert_null(token->uri);
    assert_int_equal(token->sessions, 0);
    assert_int_equal(token->timeout_s, 0);
    assert_null(token->failover);
    assert_null(kw_config_find_token(&config, "hsm"));
    assert_string_equal(kw_config_find_key(&config, "0123ab")->uri, "pkcs11:object=k#1");
    assert_null(kw_config_find_key(&config, "0123aB"));
    assert_int_equal(config.life.retention_days, 3650);
    assert_int_equal(config.life.purge_protection, KW_YES);
    assert_string_equal(config.life.records_key, "my signer");
    assert_string_equal(config.life.catalogue, "/var/lib/x/keys.db");
    assert_int_equal(config.audit.checkpoint_interval_s, 86400);
    assert_string_equal(config.audit.journald, "/run/x");
    assert_string_equal(config.audit.syslog, "[fe80::1%eth0]:65535");
    assert_int_equal(config.audit.forward_timeout_ms, 60000);
    assert_string_equal(config.run.token, "hsm one");
    assert_string_equal(config.run.unwrap_alg, "RSA-OAEP-256");
    assert_string_equal(config.run.decompress, "none");
    assert_string_equal(config.run.digest, "sha256");
    assert_int_equal(config.run.jobs, 1);
    assert_int_equal(config.run.allow_rsa1_5, KW_NO);
    assert_int_equal(config.crypto.fips, KW_YES);
    assert_int_equal(config.sandbox.enabled, KW_NO);
    assert_int_equal(config.sandbox.required, KW_YES);
    assert_string_equal(config.sandbox.read, "/opt/vendor:/etc/vendor.conf");
    assert_string_equal(config.sandbox.write, "/var/lib/vendor");
    assert_string_equal(config.sandbox.network, "unix");
    kw_config_cleanup(&config);
    assert_int_equal(config.token_count, 0);
    kw_config_cleanup(&config);
    kw_config_cleanup(NULL);
}

static void the_service(void **state)
{
    (void)state;
    static const char text[] = "[listener vault]\naddress = [::]:443\nhost = v.hsm.example:8443\n"
                               "resource = https://hsm.example\ncertificate = /c\n"
                               "key = pkcs11:object=tls\nclient-ca = /ca\n"
                               "client-certificate = optional\nthreads = 256\n"
                               "connections = 65536\nidle = 3600\nrequest-time = 1\n"
                               "[listener proxy]\nprefix = a-1\n"
                               "[issuer entra]\nissuer = https://sts/x/\naudience = https://a\n"
                               "jwks = https://login/keys\nca = /etc/ca\n"
                               "[client app one]\nissuer = entra\nclaim = appid=1=2\n"
                               "roles = Key Vault Reader: *\nrate = 5\nburst = 7\n"
                               "[client two]\nsubject = two\nsan = two.example\n"
                               "[service]\nrsa1_5-keys = old-*, x\nbackup-kek = pkcs11:object=b\n"
                               "notify = /bin/mail root\n"
                               "anomalies = rate, hour\nrefresh = 60\ndrain = 20\n";
    struct kw_error err;
    struct kw_config config = {.tokens = NULL};
    assert_ok(parse(&config, text, &err));
    assert_int_equal(config.listener_count, 2);
    const struct kw_config_listener *listener = &config.listeners[0];
    assert_string_equal(listener->name, "vault");
    assert_string_equal(listener->address, "[::]:443");
    assert_string_equal(listener->host, "v.hsm.example:8443");
    assert_string_equal(listener->resource, "https://hsm.example");
    assert_string_equal(listener->certificate, "/c");
    assert_string_equal(listener->key, "pkcs11:object=tls");
    assert_string_equal(listener->client_ca, "/ca");
    assert_string_equal(listener->client_certificate, "optional");
    assert_int_equal(listener->threads, 256);
    assert_int_equal(listener->connections, 65536);
    assert_int_equal(listener->idle_s, 3600);
    assert_int_equal(listener->request_s, 1);
    assert_string_equal(config.listeners[1].name, "proxy");
    assert_string_equal(config.listeners[1].prefix, "a-1");
    assert_int_equal(config.issuer_count, 1);
    assert_string_equal(config.issuers[0].name, "entra");
    assert_string_equal(config.issuers[0].issuer, "https://sts/x/");
    assert_string_equal(config.issuers[0].audience, "https://a");
    assert_string_equal(config.issuers[0].jwks, "https://login/keys");
    assert_string_equal(config.issuers[0].ca, "/etc/ca");
    assert_int_equal(config.client_count, 2);
    assert_string_equal(config.clients[0].name, "app one");
    assert_string_equal(config.clients[0].issuer, "entra");
    assert_string_equal(config.clients[0].claim, "appid=1=2");
    assert_string_equal(config.clients[0].roles, "Key Vault Reader: *");
    assert_int_equal(config.clients[0].rate, 5);
    assert_int_equal(config.clients[0].burst, 7);
    assert_string_equal(config.clients[1].subject, "two");
    assert_string_equal(config.clients[1].san, "two.example");
    assert_string_equal(config.service.rsa1_5_keys, "old-*, x");
    assert_string_equal(config.service.backup_kek, "pkcs11:object=b");
    assert_string_equal(config.service.notify, "/bin/mail root");
    assert_string_equal(config.service.anomalies, "rate, hour");
    assert_int_equal(config.service.refresh_s, 60);
    assert_int_equal(config.service.drain_s, 20);
    kw_config_cleanup(&config);
}

static void faults_name_their_line(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *part;
    } rows[] = {
        /* lines */
        {"[run]\nnonsense\n", "x.conf:2: write a section as"},
        {"\n\n[run", "x.conf:3: a section must end"},
        {"[run] x", "x.conf:1: a section must end"},
        {"[", "x.conf:1: a section must end"},
        {"]", "x.conf:1: write a section as"},
        {"[]", "x.conf:1: the section is unknown"},
        {"[token \"a\"]", "x.conf:1: a section's name is written without"},
        {"[token [a]]", "x.conf:1: a section's name is written without"},
        {"[run]\n= 4\n", "x.conf:2: a name is missing"},
        {"[run]\njobs =\n", "x.conf:2: a value is missing"},
        {"[run]\njobs = # 4\n", "x.conf:2: a value is missing"},
        {"[run]\njobs\n = 4\n", "x.conf:2: write a section as"},
        {"[run]\njobs: 4\n", "x.conf:2: write a section as"},
        {"[run]\ntoken = a\x01\n", "x.conf:2: the line has a control"},
        {"[run]\ntoken = a\x7F\n", "x.conf:2: the line has a control"},
        {"[run]\n# a\rb\n", "x.conf:2: the line has a control"},
        /* sections */
        {"jobs = 4\n", "x.conf:1: a setting needs a section"},
        {"[runs]\n", "x.conf:1: the section is unknown"},
        {"[Run]\n", "x.conf:1: the section is unknown"},
        {"[run x]\n", "x.conf:1: [run] has no name after it"},
        {"[audit x]\n", "x.conf:1: [audit] has no name after it"},
        {"[audit]\ndir = a/b\n", "x.conf:2: dir must be an absolute path"},
        {"[audit]\nrotate-mib = 0\n", "x.conf:2: rotate-mib must be a number from 1 to 1024"},
        {"[audit]\nrotate-mib = 1025\n", "x.conf:2: rotate-mib must be a number from 1 to 1024"},
        {"[audit]\nenabled = on\n", "x.conf:2: enabled must be yes or no"},
        {"[audit]\njournald = yes\n", "x.conf:2: journald must be an absolute path"},
        {"[audit]\nsyslog = host\n", "x.conf:2: syslog must be HOST:PORT"},
        {"[audit]\nsyslog = :514\n", "x.conf:2: syslog must be HOST:PORT"},
        {"[audit]\nsyslog = host:\n", "x.conf:2: syslog must be HOST:PORT"},
        {"[audit]\nsyslog = host:0\n", "x.conf:2: syslog must be HOST:PORT"},
        {"[audit]\nsyslog = host:65536\n", "x.conf:2: syslog must be HOST:PORT"},
        {"[audit]\nsyslog = host:000514\n", "x.conf:2: syslog must be HOST:PORT"},
        {"[audit]\nsyslog = host:5x4\n", "x.conf:2: syslog must be HOST:PORT"},
        {"[audit]\nsyslog = a b:514\n", "x.conf:2: syslog must be HOST:PORT"},
        {"[audit]\nsyslog = ::1:514\n", "x.conf:2: syslog must be HOST:PORT"},
        {"[audit]\nsyslog = []:514\n", "x.conf:2: syslog must be HOST:PORT"},
        {"[audit]\nsyslog = [host]:514\n", "x.conf:2: syslog must be HOST:PORT"},
        {"[audit]\nforward-timeout = 0\n", "x.conf:2: forward-timeout must be a number"},
        {"[audit]\nforward-timeout = 60001\n", "x.conf:2: forward-timeout must be a number"},
        {"[audit]\ncheckpoint-interval = 0\n", "x.conf:2: checkpoint-interval must be"},
        {"[crypto x]\n", "x.conf:1: [crypto] has no name after it"},
        {"[token]\n", "x.conf:1: a name is missing; write [token NAME]"},
        {"[key]\n", "x.conf:1: a name is missing; write [key VERSION]"},
        {"[listener]\n", "x.conf:1: a name is missing; write [listener NAME]"},
        {"[client]\n", "x.conf:1: a name is missing; write [client NAME]"},
        {"[service x]\n", "x.conf:1: [service] has no name after it"},
        {"[listener x]\n", "x.conf:1: the listener must be one of vault, proxy, status"},
        {"[listener vault, proxy]\n", "x.conf:1: the listener must be one of"},
        {"[listener Vault]\n", "x.conf:1: the listener must be one of"},
        {"[token  ]\n", "x.conf:1: a name is missing"},
        {"[key]\n", "x.conf:1: a name is missing"},
        {"[key a]\n[run]\n", "x.conf: [key a] has no uri"},
        /* names */
        {"[run]\njob = 4\n", "x.conf:2: the setting \"job\" is unknown"},
        {"[run]\nJobs = 4\n", "x.conf:2: the setting \"Jobs\" is unknown"},
        {"[run]\nfips = yes\n", "x.conf:2: the setting \"fips\" is unknown"},
        {"[keys x]\n", "x.conf:1: [keys] has no name after it"},
        {"[Keys]\n", "x.conf:1: the section is unknown"},
        {"[keys]\nuri = pkcs11:a\n", "x.conf:2: the setting \"uri\" is unknown"},
        {"[keys]\njobs = 1\n", "x.conf:2: the setting \"jobs\" is unknown"},
        {"[run]\nretention-days = 1\n", "x.conf:2: the setting \"retention-days\" is unknown"},
        {"[keys]\ncatalogue = /a\ncatalogue = /b\n", "x.conf:3: catalogue is set a second time"},
        {"[keys]\nretention-days = 7\n[run]\n[keys]\nretention-days = 7\n",
         "x.conf:5: retention-days is set a second time"},
        {"[key a]\nmodule = /x\n", "x.conf:2: the setting \"module\" is unknown"},
        {"[token a]\npin = 1234\n", "x.conf:2: the setting \"pin\" is unknown"},
        {"[run]\na\xFF = 1\n", "x.conf:2: the setting \"a\\xff\" is unknown"},
        {"[run]\njobs = 1\njobs = 1\n", "x.conf:3: jobs is set a second time"},
        {"[run]\njobs = 1\n[crypto]\nfips=no\n[run]\njobs = 2\n", "x.conf:6: jobs is set a second"},
        {"[token a]\nsessions = 1\n[token b]\nsessions=1\n[token a]\nsessions = 1\n",
         "x.conf:6: sessions is set a second time"},
        {"[key a]\nuri = pkcs11:a\n\nuri = pkcs11:a\n", "x.conf:4: uri is set a second time"},
        /* values */
        {"[token a]\nuri = token=a\n", "x.conf:2: uri must be a URI that starts with pkcs11:"},
        {"[token a]\nuri = pkcs11:\n", "x.conf:2: uri must be"},
        {"[token a]\nuri = \"pkcs11:a\"\n", "x.conf:2: uri must be"},
        {"[key a]\nuri = x\n", "x.conf:2: uri must be"},
        {"[token a]\nuri = pkcs11:token=a?pin-value=1\n", "holds no PIN (use pin-source)"},
        {"[token a]\nmodule = x.so\n", "x.conf:2: module must be an absolute path"},
        {"[token a]\nmodule = ./x.so\n", "x.conf:2: module must be an absolute path"},
        {"[token a]\npin-source = 1234\n", "x.conf:2: pin-source must be file:PATH"},
        {"[token a]\npin-source = pin\n", "x.conf:2: pin-source must be file:PATH"},
        {"[token a]\npin-source = file:\n", "x.conf:2: pin-source must be file:PATH"},
        {"[token a]\npin-source = prompts\n", "x.conf:2: pin-source must be file:PATH"},
        {"[token a]\npin-source = File:/x\n", "x.conf:2: pin-source must be file:PATH"},
        {"[token a]\nsessions = 0\n", "x.conf:2: sessions must be a number from 1 to 1024"},
        {"[token a]\nsessions = 1025\n", "x.conf:2: sessions must be a number from 1 to 1024"},
        {"[token a]\ngive-up = 86401\n",
         "x.conf:2: give-up must be a number of seconds from 1 to 86400"},
        {"[token a]\ntimeout = 0\n",
         "x.conf:2: timeout must be a number of seconds from 1 to 3600"},
        {"[token a]\ntimeout = 3601\n",
         "x.conf:2: timeout must be a number of seconds from 1 to 3600"},
        {"[token a]\nfailover-probe = 0\n", "x.conf:2: failover-probe must be a number of seconds"},
        {"[token a]\nfailover-probe = 3601\n", "x.conf:2: failover-probe must be"},
        {"[token a]\nfailover = b\n[run]\njobs = 1\n", "x.conf:2: failover names no [token]"},
        {"[token a]\n\nfailover = a\n", "x.conf:3: failover names its own [token]"},
        {"[token a]\nfailover = b\n[token b]\nfailover = a\n",
         "x.conf:2: failover names a [token] that has a failover itself"},
        {"[token b]\nfailover = c\n[token c]\n[token a]\nfailover = b\n",
         "x.conf:2: this [token] is the failover of another one"},
        {"[run]\njobs = 0\n", "x.conf:2: jobs must be a number from 1 to 256"},
        {"[run]\njobs = 257\n", "x.conf:2: jobs must be a number from 1 to 256"},
        {"[run]\njobs = -1\n", "x.conf:2: jobs must be a number"},
        {"[run]\njobs = +1\n", "x.conf:2: jobs must be a number"},
        {"[run]\njobs = 0x4\n", "x.conf:2: jobs must be a number"},
        {"[run]\njobs = 4 4\n", "x.conf:2: jobs must be a number"},
        {"[run]\njobs = 4.0\n", "x.conf:2: jobs must be a number"},
        {"[run]\njobs = 18446744073709551617\n", "x.conf:2: jobs must be a number"},
        {"[run]\nunwrap-alg = rsa-oaep\n", "x.conf:2: unwrap-alg must be one of auto, RSA-OAEP, "},
        {"[run]\nunwrap-alg = RSA-OAEP,\n", "x.conf:2: unwrap-alg must be one of"},
        {"[run]\nunwrap-alg = auto, RSA-OAEP\n", "x.conf:2: unwrap-alg must be one of"},
        {"[run]\nunwrap-alg = RSA\n", "x.conf:2: unwrap-alg must be one of"},
        {"[run]\ndecompress = gzip\n", "x.conf:2: decompress must be one of auto, none"},
        {"[run]\ndigest = md5\n", "x.conf:2: digest must be one of sha256, none"},
        {"[run]\nallow-rsa1_5 = maybe\n", "x.conf:2: allow-rsa1_5 must be yes or no"},
        {"[run]\nallow-rsa1_5 = 1\n", "x.conf:2: allow-rsa1_5 must be yes or no"},
        {"[keys]\nretention-days = 0\n",
         "x.conf:2: retention-days must be a number from 1 to 3650"},
        {"[keys]\nretention-days = 3651\n", "x.conf:2: retention-days must be a number"},
        {"[keys]\nretention-days = -90\n", "x.conf:2: retention-days must be a number"},
        {"[keys]\nretention-days = 90d\n", "x.conf:2: retention-days must be a number"},
        {"[keys]\nretention-days = 36893488147419103233\n",
         "x.conf:2: retention-days must be a number"},
        {"[keys]\npurge-protection = on\n", "x.conf:2: purge-protection must be yes or no"},
        {"[keys]\npurge-protection = Yes\n", "x.conf:2: purge-protection must be yes or no"},
        {"[keys]\npurge-protection =\n", "x.conf:2: a value is missing"},
        {"[keys]\nrecords-key =\n", "x.conf:2: a value is missing"},
        {"[keys]\ncatalogue = keys.db\n", "x.conf:2: catalogue must be an absolute path"},
        {"[keys]\ncatalogue = ~/keys.db\n", "x.conf:2: catalogue must be an absolute path"},
        {"[keys]\ncatalogue = /\n", "x.conf:2: catalogue must be an absolute path"},
        {"[crypto]\nfips = true\n", "x.conf:2: fips must be yes or no"},
        {"[key a]\nuri = http://v/keys/n\n", "x.conf:2: uri must be a URI that starts"},
        {"[token a]\nuri = http://v\n", "x.conf:2: uri must be a URI that starts"},
        {"[token a]\nca = ca.pem\n", "x.conf:2: ca must be an absolute path"},
        {"[sandbox]\nread = etc\n", "x.conf:2: read must be absolute paths"},
        {"[sandbox]\nread = /etc:\n", "x.conf:2: read must be absolute paths"},
        {"[sandbox]\nwrite = /a::/b\n", "x.conf:2: write must be absolute paths"},
        {"[sandbox]\nwrite = /a:b\n", "x.conf:2: write must be absolute paths"},
        {"[sandbox]\nnetwork = udp\n", "x.conf:2: network must be one of none, unix, tcp"},
        /* the service */
        {"[listener vault]\naddress = host\n", "x.conf:2: address must be HOST:PORT"},
        {"[listener vault]\naddress = h:65536\n", "x.conf:2: address must be HOST:PORT"},
        {"[listener vault]\nhost = a b\n", "x.conf:2: host must be HOST or HOST:PORT"},
        {"[listener vault]\nhost = a:0\n", "x.conf:2: host must be HOST or HOST:PORT"},
        {"[listener vault]\nhost = ::1\n", "x.conf:2: host must be HOST or HOST:PORT"},
        {"[listener vault]\nresource = http://a\n", "x.conf:2: resource must be a URL that starts"},
        {"[listener vault]\nresource = https://\n", "x.conf:2: resource must be a URL that starts"},
        {"[listener vault]\ncertificate = a.pem\n", "x.conf:2: certificate must be an absolute"},
        {"[listener vault]\nkey = a.pem\n", "x.conf:2: key must be an absolute path, or a URI"},
        {"[listener vault]\nkey = pkcs11:a?pin-value=1\n", "x.conf:2: key must be an absolute"},
        {"[listener vault]\nclient-ca = ca\n", "x.conf:2: client-ca must be an absolute path"},
        {"[listener vault]\nclient-certificate = yes\n",
         "x.conf:2: client-certificate must be one of none, optional, required"},
        {"[listener proxy]\nprefix = /a\n", "x.conf:2: prefix must be 1 to 64 letters"},
        {"[listener proxy]\nprefix = "
         "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde-x\n",
         "x.conf:2: prefix must be 1 to 64 letters"},
        {"[listener proxy]\nprefix = a_b\n", "x.conf:2: prefix must be 1 to 64 letters"},
        {"[listener vault]\nthreads = 257\n", "x.conf:2: threads must be a number from 1 to 256"},
        {"[listener vault]\nconnections = 0\n", "x.conf:2: connections must be a number"},
        {"[listener vault]\nidle = 3601\n", "x.conf:2: idle must be a number of seconds"},
        {"[listener vault]\nrequest-time = 0\n", "x.conf:2: request-time must be a number"},
        {"[listener vault]\nkey = /a\n[listener proxy]\nkey = /a\n[listener vault]\nkey = /a\n",
         "x.conf:6: key is set a second time"},
        {"[issuer a]\njwks = http://a/b\n", "x.conf:2: jwks must be an absolute path, or a URL"},
        {"[issuer a]\njwks = jwks.json\n", "x.conf:2: jwks must be an absolute path, or a URL"},
        {"[issuer a]\nca = ca.pem\n", "x.conf:2: ca must be an absolute path"},
        {"[issuer a]\nclaim = a=b\n", "x.conf:2: the setting \"claim\" is unknown"},
        {"[client a]\nclaim = appid\n", "x.conf:2: claim must be NAME=VALUE"},
        {"[client a]\nclaim = =b\n", "x.conf:2: claim must be NAME=VALUE"},
        {"[client a]\nclaim = a=\n", "x.conf:2: claim must be NAME=VALUE"},
        {"[client a]\nrate = 0\n", "x.conf:2: rate must be a number from 1 to 1000000"},
        {"[client a]\nburst = 1000001\n", "x.conf:2: burst must be a number from 1 to 1000000"},
        {"[client a]\nsan = a\nsan = b\n", "x.conf:3: san is set a second time"},
        {"[service]\nrsa1_5-keys = a,,b\n", "x.conf:2: rsa1_5-keys must be names of keys"},
        {"[service]\nrsa1_5-keys = a_b\n", "x.conf:2: rsa1_5-keys must be names of keys"},
        {"[service]\nrsa1_5-keys = a b\n", "x.conf:2: rsa1_5-keys must be names of keys"},
        {"[service]\nbackup-kek = kek\n", "x.conf:2: backup-kek must be a URI"},
        {"[service]\nbackup-kek = pkcs11:\n", "x.conf:2: backup-kek must be a URI"},
        {"[service]\nanomalies = rates\n", "x.conf:2: anomalies must be none, or some of"},
        {"[service]\nanomalies = rate, none\n", "x.conf:2: anomalies must be none, or some of"},
        {"[service]\nanomalies = rate,\n", "x.conf:2: anomalies must be none, or some of"},
        {"[service]\nrefresh = 0\n", "x.conf:2: refresh must be a number of seconds"},
        {"[service]\ndrain = 3601\n", "x.conf:2: drain must be a number of seconds"},
        {"[service]\nburst = 1\n", "x.conf:2: the setting \"burst\" is unknown"},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        struct kw_error err;
        struct kw_config config = {.tokens = NULL};
        assert_fails(parse(&config, rows[i].text, &err), KW_CONFIG, rows[i].part);
        kw_config_cleanup(&config);
    }
}

/* A value may be a PIN that was put in the wrong place. */
static void values_are_not_repeated(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "[token a]\npin-source = 928374\n",
        "[token a]\nuri = 928374\n",
        "[run]\njobs = 928374\n",
        "[run]\n928374\n",
        "[run]\npin = 928374\n",
        "[crypto]\nfips = 928374\n",
        "[run]\ndigest = 928374\n",
        "928374\n",
        "[token a]\nmodule=928374",
    };
    for (size_t i = 0; i < KW_COUNT(texts); i++) {
        struct kw_error err;
        struct kw_config config = {.tokens = NULL};
        assert_fails(parse(&config, texts[i], &err), KW_CONFIG, "x.conf");
        assert_null(strstr(err.message, "928374"));
        kw_config_cleanup(&config);
    }
}

static void good_values(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "\n\n",
        "\r\n",
        "[run]",
        "[run]\n[run]\n",
        "[run]\njobs = 256\n",
        "[run]\njobs = 0000001\n",
        "[run]\nunwrap-alg = auto\n",
        "[run]\nunwrap-alg = RSA-OAEP\n",
        "[run]\nunwrap-alg = RSA1_5\n",
        "[run]\ntoken = pkcs11:token=a;serial=b\n",
        "[run]\ntoken = a#b;c\n",
        "[run]\ntoken = a = b\n",
        "[keys]",
        "[keys]\n[key keys]\nuri = pkcs11:a\n[keys]\n",
        "[keys]\nretention-days = 1\npurge-protection = no\n",
        "[keys]\nrecords-key = a = b\ncatalogue = /a b/c#d\n",
        "[token a]\npin-source = prompt\n",
        "[token a]\npin-source = fd:3\n",
        "[token a]\npin-source = env:PIN\n",
        "[token a]\npin-source = credential:pin\n",
        "[token a]\npin-source = /run/pin\n",
        "[token a]\nuri = https://v.vault.azure.net\ntoken-source = managed-identity\nca = /ca\n",
        "[key a]\nuri = https://v.vault.azure.net/keys/n/0123456789abcdef0123456789abcdef\n",
        "[listener vault]\naddress = [::]:0\nhost = [::1]\n[listener proxy]\nhost = h:1\n",
        "[listener status]\nkey = pkcs11:object=tls\naddress = localhost:0\n",
        ("[listener proxy]\nprefix = "
         "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde-\n"),
        "[issuer a]\njwks = https://a/b\n[client a]\nclaim = a=b=c\n[client b]\nclaim = a=b=c\n",
        "[service]\nanomalies = none\nrsa1_5-keys = a ,b*,  c-?\n",
        "[service]\nanomalies = hour,rate , client\n",
        "[key https://v.vault.azure.net/keys/n/0123456789abcdef0123456789abcdef]\nuri = pkcs11:a\n",
    };
    for (size_t i = 0; i < KW_COUNT(texts); i++) {
        struct kw_error err;
        struct kw_config config = {.tokens = NULL};
        assert_ok(parse(&config, texts[i], &err));
        kw_config_cleanup(&config);
    }
}

/* ---- limits ---- */

static void nul_byte(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_config config = {.tokens = NULL};
    assert_fails(kw_config_parse(&config, "[run]\ntoken = a\0b\n", 18, "x.conf", &err), KW_CONFIG,
                 "x.conf:2: the line has a control");
    kw_config_cleanup(&config);
}

/* "uri = pkcs11:aaa", `len` bytes long, and a line after it. */
static enum kw_status parse_line_of(size_t len, struct kw_config *config, struct kw_error *err)
{
    char text[8192];
    int head = snprintf(text, sizeof(text), "[token a]\nuri = pkcs11:");
    size_t end = strlen("[token a]\n") + len;
    memset(text + head, 'a', end - (size_t)head);
    memcpy(text + end, "\n[run]\n", 8);
    return parse(config, text, err);
}

static void long_lines(void **state)
{
    (void)state;
    static const size_t good[] = {48, 197, 198, 199, 200, 201, 1000, 4095, 4096};
    for (size_t i = 0; i < KW_COUNT(good); i++) {
        struct kw_error err;
        struct kw_config config = {.tokens = NULL};
        assert_ok(parse_line_of(good[i], &config, &err));
        assert_int_equal(strlen(config.tokens[0].uri), good[i] - strlen("uri = "));
        kw_config_cleanup(&config);
    }
    for (size_t len = 4097; len < 4099; len++) {
        struct kw_error err;
        struct kw_config config = {.tokens = NULL};
        assert_fails(parse_line_of(len, &config, &err), KW_CONFIG, "x.conf:2: the line is longer");
        kw_config_cleanup(&config);
    }
}

static void long_names(void **state)
{
    (void)state;
    static const char *const kinds[] = {"token", "key"};
    for (size_t k = 0; k < KW_COUNT(kinds); k++) {
        for (int len = 126; len <= 128; len++) {
            char text[256];
            struct kw_error err;
            struct kw_config config = {.tokens = NULL};
            snprintf(text, sizeof(text), "[%s %0*d]\nuri = pkcs11:a\n", kinds[k], len, 1);
            if (len <= 127)
                assert_ok(parse(&config, text, &err));
            else
                assert_fails(parse(&config, text, &err), KW_CONFIG, "x.conf:1: the section's name");
            if (len <= 127)
                assert_int_equal(strlen(k ? config.keys[0].version : config.tokens[0].name), len);
            kw_config_cleanup(&config);
        }
    }
}

static void many_entries(void **state)
{
    (void)state;
    static const struct {
        const char *kind;
        int max;
        const char *part;
    } rows[] = {{"token", 64, ":129: there are more than 64 tokens"},
                {"key", 1024, ":2049: there are more than 1024 keys"}};
    for (size_t r = 0; r < KW_COUNT(rows); r++) {
        struct kw_error err;
        struct kw_config config = {.tokens = NULL};
        struct kw_buffer text = KW_BUFFER_INIT(1 << 20);
        for (int i = 0; i < rows[r].max; i++)
            assert_ok(
                kw_buffer_printf(&text, &err, "[%s n%d]\nuri=pkcs11:n%d\n", rows[r].kind, i, i));
        size_t full = text.len;
        assert_ok(kw_config_parse(&config, (char *)text.data, full, "x.conf", &err));
        assert_int_equal(config.token_count + config.key_count, rows[r].max);
        /* what is there already may be set again */
        assert_ok(kw_config_parse(&config, (char *)text.data, full, "x.conf", &err));
        assert_ok(kw_buffer_printf(&text, &err, "[%s over]\n", rows[r].kind));
        assert_fails(kw_config_parse(&config, (char *)text.data, text.len, "x.conf", &err),
                     KW_CONFIG, rows[r].part);
        kw_config_cleanup(&config);
        kw_buffer_cleanup(&text);
    }
}

static void many_issuers_and_clients(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_config config = {.tokens = NULL};
    struct kw_buffer text = KW_BUFFER_INIT(1 << 20);
    for (int i = 0; i < 1024; i++) {
        assert_ok(kw_buffer_printf(&text, &err, "[issuer i%d]\njwks=/%d\n", i % 16, i));
        assert_ok(kw_buffer_printf(&text, &err, "[client c%d]\nrate=%d\n", i, i + 1));
        assert_ok(kw_config_parse(&config, (char *)text.data, text.len, "x.conf", &err));
        text.len = 0;
    }
    assert_int_equal(config.issuer_count, 16);
    assert_int_equal(config.client_count, 1024);
    assert_string_equal(config.issuers[15].jwks, "/1023");
    assert_string_equal(config.clients[1023].name, "c1023");
    assert_int_equal(config.clients[1023].rate, 1024);
    assert_fails(parse(&config, "[issuer i16]\n", &err), KW_CONFIG, "more than 16 issuers");
    assert_fails(parse(&config, "[client x]\n", &err), KW_CONFIG, "more than 1024 clients");
    kw_config_cleanup(&config);
    kw_buffer_cleanup(&text);
}

static void later_settings_win(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_config config = {.tokens = NULL};
    assert_ok(parse(&config,
                    "[run]\njobs=2\ndigest=none\nallow-rsa1_5=no\n[token a]\nuri=pkcs11:a\n"
                    "module=/a\n[token b]\n",
                    &err));
    assert_ok(parse(&config,
                    "[keys]\nretention-days=7\ncatalogue=/a\nrecords-key=a\npurge-protection=yes\n",
                    &err));
    assert_ok(parse(&config, "[run]\njobs=3\nallow-rsa1_5=yes\n[token a]\nuri=pkcs11:b\n", &err));
    assert_ok(parse(&config, "[keys]\ncatalogue=/b\npurge-protection=no\n", &err));
    assert_int_equal(config.life.retention_days, 7);
    assert_int_equal(config.life.purge_protection, KW_NO);
    assert_string_equal(config.life.catalogue, "/b");
    assert_string_equal(config.life.records_key, "a");
    assert_int_equal(config.run.jobs, 3);
    assert_int_equal(config.run.allow_rsa1_5, KW_YES);
    assert_string_equal(config.run.digest, "none");
    assert_int_equal(config.token_count, 2);
    assert_string_equal(config.tokens[0].uri, "pkcs11:b");
    assert_string_equal(config.tokens[0].module, "/a");
    kw_config_cleanup(&config);
}

/* ---- files ---- */

static char root[] = "/tmp/keyward-base-config-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(root) && chdir(root) == 0 ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(root);
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void files_that_are_read(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_config config = {.tokens = NULL};
    write_text("a.conf", "[run]\njobs = 7\n");
    assert_int_equal(chmod("a.conf", 0664), 0);
    assert_ok(kw_config_read(&config, "a.conf", false, &err));
    assert_int_equal(config.run.jobs, 7);
    assert_ok(kw_config_read(&config, "absent", true, &err));
    assert_ok(kw_config_read(&config, "a.conf/absent", true, &err));
    assert_int_equal(unlink("a.conf"), 0);
    kw_config_cleanup(&config);
}

static void files_that_are_refused(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_config config = {.tokens = NULL};
    assert_fails(kw_config_read(&config, "absent", false, &err), KW_CONFIG, "absent can't be open");
    assert_int_equal(err.sys_errno, ENOENT);
    assert_fails(kw_config_read(&config, "a\nb", false, &err), KW_CONFIG, "a\\x0ab can't be open");
    assert_fails(kw_config_read(&config, ".", true, &err), KW_CONFIG, "not a regular file");
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_fails(kw_config_read(&config, "fifo", true, &err), KW_CONFIG, "not a regular file");
    assert_int_equal(unlink("fifo"), 0);

    write_text("a.conf", "[run]\njobs = x\n");
    assert_fails(kw_config_read(&config, "a.conf", true, &err), KW_CONFIG, "a.conf:2: jobs must");
    assert_int_equal(chmod("a.conf", 0602), 0);
    assert_fails(kw_config_read(&config, "a.conf", true, &err), KW_CONFIG, "chmod go-w");
    assert_int_equal(chmod("a.conf", 0600), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown("a.conf", 65534, 65534), 0);
        assert_fails(kw_config_read(&config, "a.conf", true, &err), KW_CONFIG, "another user");
    }
    assert_int_equal(truncate("a.conf", (1 << 20) + 1), 0);
    if (geteuid() == 0)
        assert_int_equal(chown("a.conf", 0, 0), 0);
    assert_fails(kw_config_read(&config, "a.conf", true, &err), KW_CONFIG, "more than the 1048576");
    assert_int_equal(unlink("a.conf"), 0);
    kw_config_cleanup(&config);
}

/* The system's file, if there is one, can't get in the way: all that is looked at is set here. */
static void files_in_their_order(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_config config = {.tokens = NULL};
    assert_int_equal(
        mkdir("keyward", 0700) | mkdir(".config", 0700) | mkdir(".config/keyward", 0700), 0);
    write_text("keyward/keyward.conf", "[run]\njobs = 2\ndigest = none\n");
    write_text(".config/keyward/keyward.conf", "[run]\njobs = 3\ndigest = none\n");
    write_text("b.conf", "[run]\ndigest = sha256\n");

    assert_int_equal(setenv("XDG_CONFIG_HOME", root, 1) | setenv("HOME", "/nonexistent", 1), 0);
    assert_ok(kw_config_load(&config, NULL, &err));
    assert_int_equal(config.run.jobs, 2);
    assert_string_equal(config.run.digest, "none");
    assert_ok(kw_config_load(&config, "b.conf", &err));
    assert_int_equal(config.run.jobs, 2);
    assert_string_equal(config.run.digest, "sha256");

    assert_int_equal(setenv("XDG_CONFIG_HOME", "not/absolute", 1) | setenv("HOME", root, 1), 0);
    assert_ok(kw_config_load(&config, NULL, &err));
    assert_int_equal(config.run.jobs, 3);
    assert_int_equal(unsetenv("XDG_CONFIG_HOME") | unsetenv("HOME"), 0);
    assert_ok(kw_config_load(&config, NULL, &err));
    assert_fails(kw_config_load(&config, "absent", &err), KW_CONFIG, "absent can't be opened");

    kw_config_cleanup(&config);
    assert_int_equal(unlink("keyward/keyward.conf") | unlink(".config/keyward/keyward.conf") |
                         unlink("b.conf") | rmdir("keyward") | rmdir(".config/keyward") |
                         rmdir(".config"),
                     0);
}

/* What an earlier file left is one half of it. */
static void failovers_across_files(void **state)
{
    (void)state;
    static const struct {
        const char *first, *second, *fault;
    } cases[] = {
        {"[token b]\n", "[token a]\nfailover = b\n", NULL},
        {"[token a]\nfailover = b\n[token b]\n", "[token a]\nsessions = 1\n", NULL},
        {"[token a]\nfailover = b\n[token b]\n[token c]\n", "[token a]\nfailover = c\n", NULL},
        {"[token a]\nfailover = b\n[token b]\n[token c]\n", "\n[token b]\nfailover = c\n",
         "x.conf:3: this [token] is the failover of another one"},
        {"[token a]\nfailover = b\n[token b]\n", "[token c]\nfailover = a\n",
         "x.conf:2: failover names a [token] that has a failover itself"},
    };
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        struct kw_error err = {.message = ""};
        struct kw_config config = {.tokens = NULL};
        assert_ok(parse(&config, cases[i].first, &err));
        enum kw_status status = parse(&config, cases[i].second, &err);
        assert_int_equal(status, cases[i].fault ? KW_CONFIG : KW_OK);
        if (cases[i].fault)
            assert_non_null(strstr(err.message, cases[i].fault));
        kw_config_cleanup(&config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_set),
        cmocka_unit_test(failovers_across_files),
        cmocka_unit_test(the_service),
        cmocka_unit_test(faults_name_their_line),
        cmocka_unit_test(values_are_not_repeated),
        cmocka_unit_test(good_values),
        cmocka_unit_test(nul_byte),
        cmocka_unit_test(long_lines),
        cmocka_unit_test(long_names),
        cmocka_unit_test(many_entries),
        cmocka_unit_test(many_issuers_and_clients),
        cmocka_unit_test(later_settings_win),
        cmocka_unit_test(files_that_are_read),
        cmocka_unit_test(files_that_are_refused),
        cmocka_unit_test(files_in_their_order),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
