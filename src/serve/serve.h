/* serve: Azure's key APIs in front of a PKCS#11 token: the Key Vault keys REST API and the Managed
 * HSM external key proxy, with who may do what, metrics and a status page. */
#ifndef KW_SERVE_H
#define KW_SERVE_H

#include "keys/keys.h"

struct kw_service_options {
    struct kw_keyring_options keyring;
    /* Sockets that listen already, by the names of their [listener]s; or none. */
    struct kw_service_socket {
        const char *name;
        int fd;
    } sockets[4];
    size_t socket_count;
    int launcher; /* of the command of [service] notify, as kw_launcher_serve has it; -1 */
    /* One line for whoever watches the log, from any thread. */
    void (*tell)(void *context, const char *line);
    /* A listener is there; before the first request. */
    void (*listening)(void *context, const char *name, const char *url);
    /* About ten times a second in the thread that runs the service. */
    enum kw_service_wish { KW_GO_ON, KW_RELOAD, KW_STOP } (*tick)(void *context);
    void *context;
};

struct kw_service;
/* Reads the configuration and binds the listeners; no request is answered yet, and the token is not
 * reached. KW_CONFIG. `options` is copied, what it points to is not. */
enum kw_status kw_service_open(const struct kw_service_options *options,
                               struct kw_service **ret_service, struct kw_error *err);
/* The keyrings that it uses, for the confinement of the process. */
void kw_service_keyrings(struct kw_service *service, struct kw_keyring *keyrings[2]);
/* What it has to reach besides. */
enum kw_status kw_service_allow(struct kw_service *service, struct kw_confinement *confinement,
                                struct kw_error *err);
/* Serves until it is to stop; then what was begun is answered, for at most [service] drain seconds.
 * That the token can't be reached is no failure, as it is tried again; but for a listener whose key
 * is on it. */
enum kw_status kw_service_run(struct kw_service *service, struct kw_error *err);
void kw_service_free(struct kw_service *service);

#endif
