/* tree: Merkle trees of RFC 6962 section 2.1, without keeping their leaves. */
#include <string.h>

#include "audit/audit.h"

bool kw_hash_equal(const struct kw_hash *a, const struct kw_hash *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* Section 2.1: a leaf and a node begin with different bytes, so that neither passes as the other.
 */
static enum kw_status hash_parts(struct kw_digest *digest, uint8_t prefix, const void *first,
                                 size_t first_len, const void *second, size_t second_len,
                                 struct kw_hash *ret_hash, struct kw_error *err)
{
    struct kw_hash hash;
    enum kw_status status;
    if ((status = kw_digest_start(digest, err)) ||
        (status = kw_digest_update(digest, &prefix, 1, err)) ||
        (status = kw_digest_update(digest, first, first_len, err)) ||
        (status = kw_digest_update(digest, second, second_len, err)) ||
        (status = kw_digest_finish(digest, hash.bytes, err)))
        return status;
    *ret_hash = hash;
    return KW_OK;
}

enum kw_status kw_leaf_hash(struct kw_digest *digest, const void *data, size_t len,
                            struct kw_hash *ret_hash, struct kw_error *err)
{
    return hash_parts(digest, 0, data, len, "", 0, ret_hash, err);
}

static enum kw_status hash_node(struct kw_digest *digest, const struct kw_hash *left,
                                const struct kw_hash *right, struct kw_hash *ret_hash,
                                struct kw_error *err)
{
    return hash_parts(digest, 1, left->bytes, sizeof(left->bytes), right->bytes,
                      sizeof(right->bytes), ret_hash, err);
}

/* ---- frontiers ---- */

enum kw_status kw_frontier_add(struct kw_digest *digest, struct kw_frontier *frontier,
                               const struct kw_hash *leaf, struct kw_error *err)
{
    struct kw_hash hash = *leaf;
    size_t count = frontier->count;
    if (frontier->size >= KW_TRAIL_MAX)
        return kw_fail(err, KW_AUDIT, "the trail has all the records it can have; begin a new one");
    /* Each complete subtree on the right joins the one of its size before it. */
    for (uint64_t size = frontier->size; (size & 1) == 1; size >>= 1) {
        enum kw_status status = hash_node(digest, &frontier->hashes[--count], &hash, &hash, err);
        if (status)
            return status;
    }
    frontier->hashes[count] = hash;
    frontier->count = count + 1;
    frontier->size++;
    return KW_OK;
}

enum kw_status kw_frontier_root(struct kw_digest *digest, const struct kw_frontier *frontier,
                                struct kw_hash *ret_root, struct kw_error *err)
{
    struct kw_hash root;
    enum kw_status status = KW_OK;
    if (frontier->count == 0) {
        if ((status = kw_digest_start(digest, err)) ||
            (status = kw_digest_finish(digest, root.bytes, err)))
            return status;
        *ret_root = root;
        return KW_OK;
    }
    root = frontier->hashes[frontier->count - 1];
    for (size_t i = frontier->count - 1; i > 0 && !status; i--)
        status = hash_node(digest, &frontier->hashes[i - 1], &root, &root, err);
    if (!status)
        *ret_root = root;
    return status;
}

/* ---- proofs: which subtrees they are made of ---- */

/* The largest power of two below n, which is at least 2. */
static uint64_t split_of(uint64_t n)
{
    uint64_t k = 1;
    while (k < n - k)
        k <<= 1;
    return k;
}

static void add_range(struct kw_prover *prover, uint64_t first, uint64_t end)
{
    prover->ranges[prover->proof.count].first = first;
    prover->ranges[prover->proof.count].end = end;
    prover->proof.count++;
}

/* A proof goes from the leaves to the root; its ranges are found the other way. */
static void turn_around(struct kw_prover *prover)
{
    for (size_t i = 0, j = prover->proof.count; i + 1 < j; i++) {
        struct kw_range range = prover->ranges[i];
        prover->ranges[i] = prover->ranges[--j];
        prover->ranges[j] = range;
    }
}

enum kw_status kw_prove_inclusion(struct kw_prover *prover, uint64_t index, uint64_t size,
                                  struct kw_error *err)
{
    if (index >= size || size > KW_TRAIL_MAX)
        return kw_fail(err, KW_AUDIT, "record %llu is not among the first %llu",
                       (unsigned long long)index, (unsigned long long)size);
    *prover = (struct kw_prover){.current = 0};
    for (uint64_t base = 0; size > 1;) {
        uint64_t k = split_of(size);
        if (index < k) {
            add_range(prover, base + k, base + size);
            size = k;
        } else {
            add_range(prover, base, base + k);
            base += k;
            index -= k;
            size -= k;
        }
    }
    turn_around(prover);
    return KW_OK;
}

enum kw_status kw_prove_consistency(struct kw_prover *prover, uint64_t first, uint64_t second,
                                    struct kw_error *err)
{
    if (first == 0 || first > second || second > KW_TRAIL_MAX)
        return kw_fail(err, KW_AUDIT,
                       "no tree of %llu records grows from one of %llu; give two sizes, the "
                       "smaller one first",
                       (unsigned long long)second, (unsigned long long)first);
    *prover = (struct kw_prover){.current = 0};
    uint64_t base = 0;
    while (first != second) {
        uint64_t k = split_of(second);
        if (first <= k) {
            add_range(prover, base + k, base + second);
            second = k;
        } else {
            add_range(prover, base, base + k);
            base += k;
            first -= k;
            second -= k;
        }
    }
    /* What is all of the smaller tree is known to whom the proof is for. */
    if (base > 0)
        add_range(prover, base, base + second);
    turn_around(prover);
    return KW_OK;
}

static bool in_range(const struct kw_range *range, uint64_t index)
{
    return index >= range->first && index < range->end;
}

enum kw_status kw_prover_add(struct kw_digest *digest, struct kw_prover *prover, uint64_t index,
                             const struct kw_hash *leaf, struct kw_error *err)
{
    size_t at = prover->current;
    if (at >= prover->proof.count || !in_range(&prover->ranges[at], index))
        for (at = 0; at < prover->proof.count && !in_range(&prover->ranges[at], index);)
            at++;
    if (at == prover->proof.count)
        return KW_OK;
    const struct kw_range *range = &prover->ranges[at];
    prover->current = at;
    if (index == range->first)
        prover->frontier = (struct kw_frontier){.size = 0};
    if (index != range->first + prover->frontier.size)
        return kw_fail(err, KW_FAULT, "a proof is not given its leaves in order");
    enum kw_status status = kw_frontier_add(digest, &prover->frontier, leaf, err);
    if (!status && index + 1 == range->end) {
        status = kw_frontier_root(digest, &prover->frontier, &prover->proof.hashes[at], err);
        prover->done++;
    }
    return status;
}

enum kw_status kw_prover_finish(const struct kw_prover *prover, struct kw_proof *ret_proof,
                                struct kw_error *err)
{
    if (prover->done != prover->proof.count)
        return kw_fail(err, KW_AUDIT, "the trail has too few records for this proof");
    *ret_proof = prover->proof;
    return KW_OK;
}

/* ---- proofs: checking them, RFC 9162 sections 2.1.3.2 and 2.1.4.2 ---- */

/* Where a node is in its level, and where that level's last node is. */
struct place {
    uint64_t node, last;
};

static void go_up(struct place *place)
{
    place->node >>= 1;
    place->last >>= 1;
}

/* A node without a right neighbour is the same on the level above, until it has a left one. */
static void skip_single(struct place *place)
{
    while (place->node != 0 && (place->node & 1) == 0)
        go_up(place);
}

enum kw_status kw_check_inclusion(struct kw_digest *digest, const struct kw_hash *leaf,
                                  uint64_t index, uint64_t size, const struct kw_proof *proof,
                                  const struct kw_hash *root, struct kw_error *err)
{
    struct place place = {index, size - 1};
    struct kw_hash hash = *leaf;
    bool fits = index < size;
    for (size_t i = 0; i < proof->count && fits; i++) {
        const struct kw_hash *other = &proof->hashes[i];
        bool on_left = (place.node & 1) == 1 || place.node == place.last;
        fits = place.last != 0;
        enum kw_status status =
            hash_node(digest, on_left ? other : &hash, on_left ? &hash : other, &hash, err);
        if (status)
            return status;
        if (on_left)
            skip_single(&place);
        go_up(&place);
    }
    if (!fits || place.last != 0 || !kw_hash_equal(&hash, root))
        return kw_fail(err, KW_AUDIT, "the proof does not show that record %llu is in the tree",
                       (unsigned long long)index);
    return KW_OK;
}

static enum kw_status climb(struct kw_digest *digest, struct place *place,
                            const struct kw_hash *other, struct kw_hash *small,
                            struct kw_hash *large, struct kw_error *err)
{
    enum kw_status status;
    if ((place->node & 1) == 1 || place->node == place->last) {
        if ((status = hash_node(digest, other, small, small, err)) ||
            (status = hash_node(digest, other, large, large, err)))
            return status;
        skip_single(place);
    } else if ((status = hash_node(digest, large, other, large, err))) {
        return status;
    }
    go_up(place);
    return KW_OK;
}

enum kw_status kw_check_consistency(struct kw_digest *digest, uint64_t first,
                                    const struct kw_hash *first_root, uint64_t second,
                                    const struct kw_hash *second_root, const struct kw_proof *proof,
                                    struct kw_error *err)
{
    bool whole = first != 0 && (first & (first - 1)) == 0;
    bool fits = first != 0 && first <= second && (first == second ? proof->count == 0 : true) &&
                (first == second || whole || proof->count > 0);
    struct place place = {first - 1, second - 1};
    while (fits && (place.node & 1) == 1)
        go_up(&place);
    struct kw_hash small = whole || proof->count == 0 ? *first_root : proof->hashes[0];
    struct kw_hash large = small;
    /* Two trees of one size have no way up from one to the other. */
    if (first == second)
        place.last = 0;
    for (size_t i = whole ? 0 : 1; i < proof->count && fits; i++) {
        fits = place.last != 0;
        enum kw_status status = climb(digest, &place, &proof->hashes[i], &small, &large, err);
        if (status)
            return status;
    }
    if (!fits || place.last != 0 || !kw_hash_equal(&small, first_root) ||
        !kw_hash_equal(&large, second_root))
        return kw_fail(err, KW_AUDIT,
                       "the proof does not show that the tree of %llu records grew from the one "
                       "of %llu",
                       (unsigned long long)second, (unsigned long long)first);
    return KW_OK;
}
