/* Addresses of services. */
#include <string.h>

#include "base/base.h"

bool kw_split_address(const char *address, char host[KW_HOST_MAX + 1], const char **ret_port)
{
    const char *colon = strrchr(address, ':');
    size_t len = colon ? (size_t)(colon - address) : 0;
    if (len > 2 && address[0] == '[' && address[len - 1] == ']') {
        address++;
        len -= 2;
    }
    if (len == 0 || len > KW_HOST_MAX)
        return false;
    memcpy(host, address, len);
    host[len] = '\0';
    *ret_port = colon + 1;
    return true;
}
