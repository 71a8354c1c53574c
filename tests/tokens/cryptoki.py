"""What PKCS#11 lets each function answer (v2.40 section 5, and what 3.0 adds), and which of these
faults pass, so that they must not end a run where they come once."""

NUMBERS = {
    "CKR_CANCEL": 0x01,
    "CKR_HOST_MEMORY": 0x02,
    "CKR_SLOT_ID_INVALID": 0x03,
    "CKR_GENERAL_ERROR": 0x05,
    "CKR_FUNCTION_FAILED": 0x06,
    "CKR_ARGUMENTS_BAD": 0x07,
    "CKR_NEED_TO_CREATE_THREADS": 0x09,
    "CKR_CANT_LOCK": 0x0A,
    "CKR_ATTRIBUTE_SENSITIVE": 0x11,
    "CKR_ATTRIBUTE_TYPE_INVALID": 0x12,
    "CKR_ATTRIBUTE_VALUE_INVALID": 0x13,
    "CKR_DATA_INVALID": 0x20,
    "CKR_DATA_LEN_RANGE": 0x21,
    "CKR_DEVICE_ERROR": 0x30,
    "CKR_DEVICE_MEMORY": 0x31,
    "CKR_DEVICE_REMOVED": 0x32,
    "CKR_ENCRYPTED_DATA_INVALID": 0x40,
    "CKR_ENCRYPTED_DATA_LEN_RANGE": 0x41,
    "CKR_FUNCTION_CANCELED": 0x50,
    "CKR_FUNCTION_NOT_SUPPORTED": 0x54,
    "CKR_KEY_HANDLE_INVALID": 0x60,
    "CKR_KEY_SIZE_RANGE": 0x62,
    "CKR_KEY_TYPE_INCONSISTENT": 0x63,
    "CKR_KEY_FUNCTION_NOT_PERMITTED": 0x68,
    "CKR_MECHANISM_INVALID": 0x70,
    "CKR_MECHANISM_PARAM_INVALID": 0x71,
    "CKR_OBJECT_HANDLE_INVALID": 0x82,
    "CKR_OPERATION_ACTIVE": 0x90,
    "CKR_OPERATION_NOT_INITIALIZED": 0x91,
    "CKR_PIN_INCORRECT": 0xA0,
    "CKR_PIN_INVALID": 0xA1,
    "CKR_PIN_LEN_RANGE": 0xA2,
    "CKR_PIN_EXPIRED": 0xA3,
    "CKR_PIN_LOCKED": 0xA4,
    "CKR_SESSION_CLOSED": 0xB0,
    "CKR_SESSION_COUNT": 0xB1,
    "CKR_SESSION_HANDLE_INVALID": 0xB3,
    "CKR_SESSION_PARALLEL_NOT_SUPPORTED": 0xB4,
    "CKR_SESSION_READ_ONLY_EXISTS": 0xB7,
    "CKR_SESSION_READ_WRITE_SO_EXISTS": 0xB8,
    "CKR_TOKEN_NOT_PRESENT": 0xE0,
    "CKR_TOKEN_NOT_RECOGNIZED": 0xE1,
    "CKR_TOKEN_WRITE_PROTECTED": 0xE2,
    "CKR_USER_ALREADY_LOGGED_IN": 0x100,
    "CKR_USER_NOT_LOGGED_IN": 0x101,
    "CKR_USER_PIN_NOT_INITIALIZED": 0x102,
    "CKR_USER_TYPE_INVALID": 0x103,
    "CKR_USER_ANOTHER_ALREADY_LOGGED_IN": 0x104,
    "CKR_USER_TOO_MANY_TYPES": 0x105,
    "CKR_BUFFER_TOO_SMALL": 0x150,
    "CKR_CRYPTOKI_NOT_INITIALIZED": 0x190,
    "CKR_CRYPTOKI_ALREADY_INITIALIZED": 0x191,
    "CKR_TOKEN_RESOURCE_EXCEEDED": 0x201,
    "CKR_OPERATION_CANCEL_FAILED": 0x202,
    "CKR_FUNCTION_REJECTED": 0x200,
    # In no standard: a vendor's own, and no answer at all.
    "vendor's": 0x80000001,
    "nonsense": 0x12345678,
}
OWN = ["vendor's", "nonsense"]


def names(text):
    return [f"CKR_{x}" for x in text.split()]


# In sections 5.1.1 to 5.1.3: of any function, of those with a session, of those that use a token.
ANY = names("GENERAL_ERROR HOST_MEMORY FUNCTION_FAILED CRYPTOKI_NOT_INITIALIZED ARGUMENTS_BAD")
SLOT = [*ANY, *names("DEVICE_ERROR DEVICE_MEMORY DEVICE_REMOVED SLOT_ID_INVALID TOKEN_NOT_PRESENT"),
        "CKR_TOKEN_NOT_RECOGNIZED"]  # fmt: skip
SESSION = [*ANY, *names("DEVICE_ERROR DEVICE_MEMORY DEVICE_REMOVED TOKEN_NOT_PRESENT"),
           *names("SESSION_CLOSED SESSION_HANDLE_INVALID")]  # fmt: skip
WITH_KEY = [*SESSION, *names("FUNCTION_CANCELED KEY_FUNCTION_NOT_PERMITTED KEY_HANDLE_INVALID"),
            *names("KEY_SIZE_RANGE KEY_TYPE_INCONSISTENT MECHANISM_INVALID OPERATION_ACTIVE"),
            *names("MECHANISM_PARAM_INVALID PIN_EXPIRED USER_NOT_LOGGED_IN"),
            *names("OPERATION_CANCEL_FAILED FUNCTION_NOT_SUPPORTED")]  # fmt: skip
IN_OPERATION = [*SESSION, *names("BUFFER_TOO_SMALL FUNCTION_CANCELED OPERATION_NOT_INITIALIZED"),
                *names("USER_NOT_LOGGED_IN TOKEN_RESOURCE_EXCEEDED")]  # fmt: skip

ANSWERS = {
    "C_GetFunctionList": [x for x in ANY if x != "CKR_CRYPTOKI_NOT_INITIALIZED"],
    "C_Initialize": [*ANY, *names("CANT_LOCK CRYPTOKI_ALREADY_INITIALIZED NEED_TO_CREATE_THREADS")],
    "C_Finalize": ANY,
    "C_GetInfo": ANY,
    "C_GetSlotList": [*ANY, "CKR_BUFFER_TOO_SMALL"],
    "C_GetSlotInfo": [*ANY, *names("DEVICE_ERROR SLOT_ID_INVALID")],
    "C_GetTokenInfo": SLOT,
    "C_OpenSession": [
        *SLOT,
        *names("SESSION_COUNT SESSION_PARALLEL_NOT_SUPPORTED SESSION_READ_WRITE_SO_EXISTS"),
        "CKR_TOKEN_WRITE_PROTECTED",
    ],
    "C_CloseSession": SESSION,
    "C_GetSessionInfo": SESSION,
    "C_Login": [
        *SESSION,
        *names("FUNCTION_CANCELED OPERATION_NOT_INITIALIZED PIN_INCORRECT PIN_LOCKED PIN_EXPIRED"),
        *names("PIN_INVALID PIN_LEN_RANGE SESSION_READ_ONLY_EXISTS USER_ALREADY_LOGGED_IN"),
        *names("USER_ANOTHER_ALREADY_LOGGED_IN USER_PIN_NOT_INITIALIZED USER_TOO_MANY_TYPES"),
        "CKR_USER_TYPE_INVALID",
    ],
    "C_Logout": [*SESSION, "CKR_USER_NOT_LOGGED_IN"],
    "C_FindObjectsInit": [
        *SESSION,
        *names("ATTRIBUTE_TYPE_INVALID ATTRIBUTE_VALUE_INVALID OPERATION_ACTIVE PIN_EXPIRED"),
    ],
    "C_FindObjects": [*SESSION, "CKR_OPERATION_NOT_INITIALIZED"],
    "C_FindObjectsFinal": [*SESSION, "CKR_OPERATION_NOT_INITIALIZED"],
    "C_GetAttributeValue": [
        *SESSION,
        *names("ATTRIBUTE_SENSITIVE ATTRIBUTE_TYPE_INVALID BUFFER_TOO_SMALL OBJECT_HANDLE_INVALID"),
    ],
    "C_DecryptInit": WITH_KEY,
    "C_Decrypt": [*IN_OPERATION, *names("ENCRYPTED_DATA_INVALID ENCRYPTED_DATA_LEN_RANGE")],
    "C_SignInit": WITH_KEY,
    "C_Sign": [*IN_OPERATION, *names("DATA_INVALID DATA_LEN_RANGE FUNCTION_REJECTED")],
}

# Faults of the token, its connection or its memory, and what was lost behind our back: promise 6 is
# that none of them ends a run, if it is over the next time that the token is asked. All others say
# that the request is wrong, and to repeat it would not make it right.
PASSING = set(
    names("HOST_MEMORY GENERAL_ERROR FUNCTION_FAILED DEVICE_ERROR DEVICE_MEMORY DEVICE_REMOVED")
    + names("TOKEN_NOT_PRESENT TOKEN_NOT_RECOGNIZED SLOT_ID_INVALID CRYPTOKI_NOT_INITIALIZED")
    + names("SESSION_CLOSED SESSION_HANDLE_INVALID OPERATION_ACTIVE OPERATION_NOT_INITIALIZED")
    + names("USER_NOT_LOGGED_IN KEY_HANDLE_INVALID OBJECT_HANDLE_INVALID")
)
# The PIN is at stake, and what has no clear meaning may be a wrong one in disguise: it is not sent
# again after these, though they pass elsewhere.
PIN_IN_DOUBT = set(names("GENERAL_ERROR FUNCTION_FAILED"))
PIN_REFUSED = set(names("PIN_INCORRECT PIN_INVALID PIN_LEN_RANGE PIN_EXPIRED PIN_LOCKED"))
# Nothing may ever be asked of a module that says so of its only entry.
NEVER_AGAIN = {"C_GetFunctionList"}


def passes(function, answer):
    if function in NEVER_AGAIN or (function == "C_Login" and answer in PIN_IN_DOUBT):
        return False
    return answer in PASSING


# Exit codes of the program (keyward(1), EXIT STATUS) for a fault that stays.
PIN, KEY, TOKEN = 3, 5, 6
CIPHERTEXT = set(names("ENCRYPTED_DATA_INVALID ENCRYPTED_DATA_LEN_RANGE"))
REFUSED = set(
    names("ARGUMENTS_BAD FUNCTION_NOT_SUPPORTED KEY_FUNCTION_NOT_PERMITTED KEY_SIZE_RANGE")
    + names("KEY_TYPE_INCONSISTENT MECHANISM_INVALID MECHANISM_PARAM_INVALID")
)


def exit_codes(function, answer):
    """What a run may end with where the fault stays, besides success."""
    if function == "C_Login" and answer in PIN_REFUSED | {"CKR_USER_PIN_NOT_INITIALIZED"}:
        return {PIN}
    if function == "C_Login" and answer == "CKR_USER_ALREADY_LOGGED_IN":
        return {KEY, TOKEN}  # where that is not so no private key is seen
    if answer == "CKR_PIN_EXPIRED":
        return {PIN}
    if function == "C_DecryptInit" and answer in REFUSED:
        return {KEY}
    if function == "C_Decrypt" and answer not in LOST:
        return {KEY}  # the one status of all that fails to unwrap
    if function == "C_GetAttributeValue" and answer not in LOST:
        return {KEY, TOKEN}  # what a token does not tell of a key is not known of it
    return {TOKEN}


# Of these there is no doubt that it is not the ciphertext, nor the attribute.
LOST = PASSING - set(names("HOST_MEMORY GENERAL_ERROR FUNCTION_FAILED DEVICE_ERROR DEVICE_MEMORY"))
