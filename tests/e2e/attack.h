/* What hostile code in the process would do. */
#ifndef KW_TEST_ATTACK_H
#define KW_TEST_ATTACK_H

/* Tries to read the file of KW_ATTACK_FILE, to write beside it, to connect to 127.0.0.1 at
 * KW_ATTACK_PORT, to make a socket of this machine, and to start a program. Writes to `report` a
 * line for each: what it was, and "done" or the errno's name. */
void kw_attack(int report);

#endif
