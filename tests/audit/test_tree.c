/* The tree, against RFC 6962's definition written down once more, and known roots. */
#include "support.h"

#define LEAVES 64

/* The inputs and roots that Certificate Transparency's own tests have used from the start. */
static const struct {
    const char *leaf; /* hex */
    const char *root; /* of the tree up to this leaf */
} known[] = {
    {"", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},
    {"00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"},
    {"10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"},
    {"2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"},
    {"3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"},
    {"40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"},
    {"5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"},
    {"606162636465666768696a6b6c6d6e6f",
     "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"},
};

static struct kw_digest *digest;
static struct kw_hash leaves[LEAVES];

static void hash_pair(const struct kw_hash *left, const struct kw_hash *right, struct kw_hash *out)
{
    uint8_t bytes[1 + 2 * KW_SHA256_SIZE] = {1};
    memcpy(bytes + 1, left->bytes, KW_SHA256_SIZE);
    memcpy(bytes + 1 + KW_SHA256_SIZE, right->bytes, KW_SHA256_SIZE);
    assert_int_equal(kw_sha256(crypto, bytes, sizeof(bytes), out->bytes, NULL), KW_OK);
}

/* MTH of section 2.1, as it is written there. */
static struct kw_hash naive_root(const struct kw_hash *from, uint64_t n)
{
    struct kw_hash out;
    if (n == 1)
        return from[0];
    uint64_t k = 1;
    while (k * 2 < n)
        k *= 2;
    struct kw_hash left = naive_root(from, k), right = naive_root(from + k, n - k);
    hash_pair(&left, &right, &out);
    return out;
}

/* PATH of section 2.1.1. */
static void naive_path(uint64_t m, const struct kw_hash *from, uint64_t n, struct kw_proof *proof)
{
    if (n == 1)
        return;
    uint64_t k = 1;
    while (k * 2 < n)
        k *= 2;
    if (m < k) {
        naive_path(m, from, k, proof);
        proof->hashes[proof->count++] = naive_root(from + k, n - k);
    } else {
        naive_path(m - k, from + k, n - k, proof);
        proof->hashes[proof->count++] = naive_root(from, k);
    }
}

/* SUBPROOF of section 2.1.2. */
static void naive_subproof(uint64_t m, const struct kw_hash *from, uint64_t n, bool whole,
                           struct kw_proof *proof)
{
    if (m == n) {
        if (!whole)
            proof->hashes[proof->count++] = naive_root(from, n);
        return;
    }
    uint64_t k = 1;
    while (k * 2 < n)
        k *= 2;
    if (m <= k) {
        naive_subproof(m, from, k, whole, proof);
        proof->hashes[proof->count++] = naive_root(from + k, n - k);
    } else {
        naive_subproof(m - k, from + k, n - k, false, proof);
        proof->hashes[proof->count++] = naive_root(from, k);
    }
}

static void assert_same_proof(const struct kw_proof *a, const struct kw_proof *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++)
        assert_memory_equal(&a->hashes[i], &b->hashes[i], sizeof(a->hashes[i]));
}

static void finish(struct kw_prover *prover, uint64_t size, struct kw_proof *proof)
{
    struct kw_error err;
    for (uint64_t i = 0; i < size; i++)
        assert_ok(kw_prover_add(digest, prover, i, &leaves[i], &err));
    assert_ok(kw_prover_finish(prover, proof, &err));
}

static int setup(void **state)
{
    if (setup_group(state) || kw_digest_new(crypto, &digest, NULL))
        return 1;
    for (uint8_t i = 0; i < LEAVES; i++)
        if (kw_leaf_hash(digest, &i, 1, &leaves[i], NULL))
            return 1;
    return 0;
}

static int teardown(void **state)
{
    kw_digest_free(digest);
    return teardown_group(state);
}

static void test_known_roots(void **state)
{
    (void)state;
    struct kw_frontier frontier = {.size = 0};
    struct kw_hash root;
    struct kw_error err;
    char hex[2 * KW_SHA256_SIZE + 1];
    assert_ok(kw_frontier_root(digest, &frontier, &root, &err));
    kw_hex_encode(root.bytes, sizeof(root.bytes), hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (size_t i = 0; i < KW_COUNT(known); i++) {
        uint8_t leaf[16];
        size_t len = 0;
        struct kw_hash hash;
        assert_true(kw_hex_decode(known[i].leaf, strlen(known[i].leaf), leaf, sizeof(leaf), &len));
        assert_ok(kw_leaf_hash(digest, leaf, len, &hash, &err));
        assert_ok(kw_frontier_add(digest, &frontier, &hash, &err));
        assert_ok(kw_frontier_root(digest, &frontier, &root, &err));
        kw_hex_encode(root.bytes, sizeof(root.bytes), hex);
        assert_string_equal(hex, known[i].root);
    }
}

static void test_roots(void **state)
{
    (void)state;
    struct kw_frontier frontier = {.size = 0};
    struct kw_hash root;
    struct kw_error err;
    for (uint64_t n = 1; n <= LEAVES; n++) {
        struct kw_hash wanted = naive_root(leaves, n);
        assert_ok(kw_frontier_add(digest, &frontier, &leaves[n - 1], &err));
        assert_ok(kw_frontier_root(digest, &frontier, &root, &err));
        assert_true(kw_hash_equal(&root, &wanted));
        assert_int_equal(frontier.size, n);
    }
}

/* What must not pass: another place, another size, a hash too few, too many or changed. */
static void check_inclusion_faults(uint64_t index, uint64_t size, const struct kw_proof *proof,
                                   const struct kw_hash *root)
{
    struct kw_proof bad = *proof;
    struct kw_error err;
    if (size > 1) {
        assert_fails(
            kw_check_inclusion(digest, &leaves[index], (index + 1) % size, size, proof, root, &err),
            KW_AUDIT, "does not show");
        bad.count--;
        assert_fails(kw_check_inclusion(digest, &leaves[index], index, size, &bad, root, &err),
                     KW_AUDIT, "does not show");
        bad.count++;
        bad.hashes[bad.count / 2].bytes[7] ^= 1;
        assert_fails(kw_check_inclusion(digest, &leaves[index], index, size, &bad, root, &err),
                     KW_AUDIT, "does not show");
    }
    bad = *proof;
    bad.hashes[bad.count++] = leaves[0];
    assert_fails(kw_check_inclusion(digest, &leaves[index], index, size, &bad, root, &err),
                 KW_AUDIT, "does not show");
    assert_fails(
        kw_check_inclusion(digest, &leaves[(index + 1) % LEAVES], index, size, proof, root, &err),
        KW_AUDIT, "does not show");
    assert_fails(kw_check_inclusion(digest, &leaves[index], size, size, proof, root, &err),
                 KW_AUDIT, "does not show");
}

static void test_inclusion(void **state)
{
    (void)state;
    struct kw_error err;
    for (uint64_t size = 1; size <= LEAVES; size++) {
        struct kw_hash root = naive_root(leaves, size);
        for (uint64_t index = 0; index < size; index++) {
            struct kw_proof wanted = {.count = 0}, proof;
            struct kw_prover prover;
            naive_path(index, leaves, size, &wanted);
            assert_ok(kw_prove_inclusion(&prover, index, size, &err));
            finish(&prover, size, &proof);
            assert_same_proof(&proof, &wanted);
            assert_ok(kw_check_inclusion(digest, &leaves[index], index, size, &proof, &root, &err));
            check_inclusion_faults(index, size, &proof, &root);
        }
    }
}

static void check_consistency_faults(uint64_t first, uint64_t second, const struct kw_proof *proof,
                                     const struct kw_hash *small, const struct kw_hash *large)
{
    struct kw_proof bad = *proof;
    struct kw_error err;
    bad.hashes[bad.count++] = leaves[0];
    assert_fails(kw_check_consistency(digest, first, small, second, large, &bad, &err), KW_AUDIT,
                 "does not show");
    bad = *proof;
    for (size_t i = 0; i < proof->count; i++) {
        bad.hashes[i].bytes[31] ^= 0x80;
        assert_fails(kw_check_consistency(digest, first, small, second, large, &bad, &err),
                     KW_AUDIT, "does not show");
        bad.hashes[i].bytes[31] ^= 0x80;
    }
    if (proof->count > 0) {
        bad.count--;
        assert_fails(kw_check_consistency(digest, first, small, second, large, &bad, &err),
                     KW_AUDIT, "does not show");
    }
    struct kw_hash other = leaves[13];
    assert_fails(kw_check_consistency(digest, first, &other, second, large, proof, &err), KW_AUDIT,
                 "does not show");
    assert_fails(kw_check_consistency(digest, first, small, second, &other, proof, &err), KW_AUDIT,
                 "does not show");
    assert_fails(kw_check_consistency(digest, 0, small, second, large, proof, &err), KW_AUDIT,
                 "does not show");
    assert_fails(kw_check_consistency(digest, second + 1, small, second, large, proof, &err),
                 KW_AUDIT, "does not show");
}

static void test_consistency(void **state)
{
    (void)state;
    struct kw_error err;
    for (uint64_t second = 1; second <= LEAVES; second++) {
        struct kw_hash large = naive_root(leaves, second);
        for (uint64_t first = 1; first <= second; first++) {
            struct kw_proof wanted = {.count = 0}, proof;
            struct kw_prover prover;
            struct kw_hash small = naive_root(leaves, first);
            naive_subproof(first, leaves, second, true, &wanted);
            assert_ok(kw_prove_consistency(&prover, first, second, &err));
            finish(&prover, second, &proof);
            assert_same_proof(&proof, &wanted);
            assert_ok(kw_check_consistency(digest, first, &small, second, &large, &proof, &err));
            check_consistency_faults(first, second, &proof, &small, &large);
        }
    }
}

static void test_what_can_not_be(void **state)
{
    (void)state;
    struct kw_prover prover;
    struct kw_proof proof;
    struct kw_error err;
    assert_fails(kw_prove_inclusion(&prover, 5, 5, &err), KW_AUDIT, "not among");
    assert_fails(kw_prove_inclusion(&prover, 0, (uint64_t)KW_TRAIL_MAX + 1, &err), KW_AUDIT,
                 "not among");
    assert_fails(kw_prove_consistency(&prover, 0, 5, &err), KW_AUDIT, "two sizes");
    assert_fails(kw_prove_consistency(&prover, 6, 5, &err), KW_AUDIT, "two sizes");
    assert_ok(kw_prove_inclusion(&prover, 3, 8, &err));
    assert_fails(kw_prover_finish(&prover, &proof, &err), KW_AUDIT, "too few records");
    assert_ok(kw_prover_add(digest, &prover, 4, &leaves[4], &err));
    assert_fails(kw_prover_add(digest, &prover, 6, &leaves[6], &err), KW_FAULT, "in order");
    /* The largest tree there is has room for its proof. */
    assert_ok(kw_prove_inclusion(&prover, 0, KW_TRAIL_MAX, &err));
    assert_int_equal(prover.proof.count, KW_TREE_DEPTH);
    assert_ok(kw_prove_consistency(&prover, 1, KW_TRAIL_MAX, &err));
    assert_ok(kw_prove_consistency(&prover, KW_TRAIL_MAX - 1, KW_TRAIL_MAX, &err));
    struct kw_frontier full = {.size = KW_TRAIL_MAX};
    assert_fails(kw_frontier_add(digest, &full, &leaves[0], &err), KW_AUDIT, "begin a new one");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_roots),     cmocka_unit_test(test_roots),
        cmocka_unit_test(test_inclusion),       cmocka_unit_test(test_consistency),
        cmocka_unit_test(test_what_can_not_be),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
