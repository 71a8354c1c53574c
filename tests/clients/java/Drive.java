// Drives a Key Vault keys endpoint with azure-security-keyvault-keys; prints TAP. Its environment
// is in ../run, the cases are in ../cases.

import com.azure.core.credential.AccessToken;
import com.azure.core.credential.TokenCredential;
import com.azure.core.exception.HttpResponseException;
import com.azure.core.http.jdk.httpclient.JdkHttpClientBuilder;
import com.azure.core.http.rest.PagedIterable;
import com.azure.core.util.Context;
import com.azure.core.util.polling.SyncPoller;
import com.azure.security.keyvault.keys.KeyClient;
import com.azure.security.keyvault.keys.KeyClientBuilder;
import com.azure.security.keyvault.keys.cryptography.CryptographyClient;
import com.azure.security.keyvault.keys.cryptography.CryptographyClientBuilder;
import com.azure.security.keyvault.keys.cryptography.models.EncryptionAlgorithm;
import com.azure.security.keyvault.keys.cryptography.models.KeyWrapAlgorithm;
import com.azure.security.keyvault.keys.cryptography.models.SignatureAlgorithm;
import com.azure.security.keyvault.keys.models.CreateEcKeyOptions;
import com.azure.security.keyvault.keys.models.CreateRsaKeyOptions;
import com.azure.security.keyvault.keys.models.DeletedKey;
import com.azure.security.keyvault.keys.models.JsonWebKey;
import com.azure.security.keyvault.keys.models.KeyOperation;
import com.azure.security.keyvault.keys.models.KeyProperties;
import com.azure.security.keyvault.keys.models.KeyRotationLifetimeAction;
import com.azure.security.keyvault.keys.models.KeyRotationPolicy;
import com.azure.security.keyvault.keys.models.KeyRotationPolicyAction;
import com.azure.security.keyvault.keys.models.KeyVaultKey;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import reactor.core.publisher.Mono;

public final class Drive {
    private interface Body {
        void run() throws Exception;
    }

    private static final SecureRandom RANDOM = new SecureRandom();
    private static final Duration OFTEN = Duration.ofMillis(100);

    private final Map<String, Body> cases = new LinkedHashMap<>();
    private final com.azure.core.http.HttpClient transport;
    private final KeyClient keys;
    private final KeyClient reader;
    private final KeyClient stranger;
    private final TokenCredential owner;
    private final String prefix;
    private final String main;
    private final String other;
    private final String brought;
    private KeyVaultKey first;
    private KeyVaultKey second;
    private byte[] backup;

    private Drive() throws Exception {
        prefix = "java-" + HexFormat.of().formatHex(random(4));
        main = prefix + "-main";
        other = prefix + "-other";
        brought = prefix + "-brought";
        transport = new JdkHttpClientBuilder(java.net.http.HttpClient.newBuilder()
                .sslContext(trustOnly(Path.of(System.getenv("KW_CLIENT_CA"))))).build();
        owner = token(read("KW_CLIENT_TOKEN"));
        keys = client(owner);
        reader = client(token(read("KW_CLIENT_TOKEN_READER")));
        stranger = client(token("not-a-token"));
        makingAndReading();
        changing();
        using();
        rotating();
        deleting();
        moving();
        refusals();
    }

    // What azure-identity would be: a credential, here of one token that is there already.
    private static TokenCredential token(String text) {
        return request -> Mono.just(new AccessToken(text, OffsetDateTime.now().plusHours(1)));
    }

    private static SSLContext trustOnly(Path file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream in = Files.newInputStream(file)) {
            for (Certificate found : CertificateFactory.getInstance("X.509").generateCertificates(in)) {
                store.setCertificateEntry("authority-" + store.size(), found);
            }
        }
        TrustManagerFactory factory =
                TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, factory.getTrustManagers(), null);
        return context;
    }

    private static String read(String variable) throws Exception {
        return Files.readString(Path.of(System.getenv(variable))).strip();
    }

    private static boolean unverified() {
        return "0".equals(System.getenv("KW_CLIENT_VERIFY"));
    }

    private KeyClient client(TokenCredential credential) {
        KeyClientBuilder builder = new KeyClientBuilder().vaultUrl(System.getenv("KW_CLIENT_URL"))
                .credential(credential).httpClient(transport);
        return (unverified() ? builder.disableChallengeResourceVerification() : builder).buildClient();
    }

    private CryptographyClientBuilder builder(KeyVaultKey key) {
        CryptographyClientBuilder builder = new CryptographyClientBuilder().keyIdentifier(key.getId())
                .credential(owner).httpClient(transport);
        return unverified() ? builder.disableChallengeResourceVerification() : builder;
    }

    // With the key's public half at hand, as it is by default: it does some operations itself.
    private CryptographyClient cryptoOf(KeyVaultKey key) {
        return builder(key).buildClient();
    }

    // Everything is the server's to do, and to refuse.
    private CryptographyClient remoteOf(KeyVaultKey key) {
        return builder(key).disableKeyCaching().buildClient();
    }

    private static void expect(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError("expected: " + what);
        }
    }

    private static void refused(int status, String code, String inner, Body call) throws Exception {
        HttpResponseException error = null;
        try {
            call.run();
        } catch (HttpResponseException caught) {
            error = caught;
        }
        expect(error != null, status + " " + code + ", but it succeeded");
        Map<?, ?> said = (Map<?, ?>) ((Map<?, ?>) error.getValue()).get("error");
        Map<?, ?> innermost = (Map<?, ?>) said.get("innererror");
        boolean good = error.getResponse().getStatusCode() == status && code.equals(said.get("code"))
                && (inner == null ? innermost == null : inner.equals(innermost.get("code")));
        expect(good, status + " " + code + " " + inner + ", not "
                + error.getResponse().getStatusCode() + " " + said);
    }

    private static byte[] random(int size) {
        byte[] bytes = new byte[size];
        RANDOM.nextBytes(bytes);
        return bytes;
    }

    private static byte[] digest(SignatureAlgorithm algorithm) throws Exception {
        String size = algorithm.toString().substring(2);
        return MessageDigest.getInstance("SHA-" + size).digest("text".getBytes());
    }

    private static <T> List<T> all(PagedIterable<T> pages) {
        List<T> found = new ArrayList<>();
        pages.iterableByPage().forEach(page -> found.addAll(page.getValue()));
        return found;
    }

    private static OffsetDateTime inSeconds(long seconds) {
        return OffsetDateTime.now(ZoneOffset.UTC).truncatedTo(ChronoUnit.SECONDS).plusSeconds(seconds);
    }

    private DeletedKey remove(String name) {
        SyncPoller<DeletedKey, Void> poller = keys.beginDeleteKey(name).setPollInterval(OFTEN);
        DeletedKey gone = poller.poll().getValue();
        poller.waitForCompletion(Duration.ofSeconds(30));
        return gone;
    }

    // What is backed up later is made with these.
    private CreateRsaKeyOptions backupKey() {
        CreateRsaKeyOptions options = new CreateRsaKeyOptions(main).setKeySize(2048);
        return "1".equals(System.getenv("KW_CLIENT_EXPORTABLE")) ? options.setExportable(true) : options;
    }

    private void makingAndReading() {
        cases.put("create", () -> {
            first = keys.createRsaKey(backupKey());
            expect(first.getName().equals(main) && first.getKey().getN().length == 256,
                    "a key of 2048 bits");
            expect(first.getProperties().getVersion().matches("[0-9a-f]{32}"),
                    "a version of 32 hex digits");
            expect(first.getProperties().isEnabled() && first.getProperties().getCreatedOn() != null,
                    "attributes");
            expect(first.getKeyOperations().contains(KeyOperation.UNWRAP_KEY),
                    "unwrapKey among its operations");
        });
        cases.put("create-version", () -> {
            second = keys.createRsaKey(backupKey());
            expect(!second.getId().equals(first.getId()), "another version");
        });
        cases.put("create-with-attributes", () -> {
            OffsetDateTime expiry = inSeconds(86400);
            KeyVaultKey key = keys.createRsaKey(new CreateRsaKeyOptions(other).setKeySize(2048)
                    .setKeyOperations(KeyOperation.WRAP_KEY, KeyOperation.UNWRAP_KEY)
                    .setTags(Map.of("team", "blue")).setExpiresOn(expiry)
                    .setNotBefore(OffsetDateTime.parse("1970-01-01T00:00:01Z")));
            expect(key.getKeyOperations().size() == 2, "two operations");
            expect(key.getProperties().getTags().equals(Map.of("team", "blue")), "its tag");
            expect(key.getProperties().getExpiresOn().isEqual(expiry), "its expiry");
            expect(key.getProperties().getNotBefore().toEpochSecond() == 1, "its first second");
        });
        cases.put("get", () -> {
            KeyVaultKey key = keys.getKey(main);
            expect(key.getId().equals(second.getId())
                    && Arrays.equals(key.getKey().getN(), second.getKey().getN()), "the newest version");
        });
        cases.put("get-version", () -> {
            KeyVaultKey key = keys.getKey(main, first.getProperties().getVersion());
            expect(key.getId().equals(first.getId())
                    && Arrays.equals(key.getKey().getN(), first.getKey().getN()), "the first version");
        });
        cases.put("list", () -> {
            List<KeyProperties> ours = all(keys.listPropertiesOfKeys());
            ours.removeIf(item -> !item.getName().startsWith(prefix));
            expect(ours.size() == 2 && ours.get(0).getVersion() == null, "two keys, without versions");
        });
        cases.put("list-versions", () -> {
            Set<String> versions = all(keys.listPropertiesOfKeyVersions(main)).stream()
                    .map(KeyProperties::getVersion).collect(Collectors.toSet());
            expect(versions.equals(Set.of(first.getProperties().getVersion(),
                    second.getProperties().getVersion())), "both versions");
        });
    }

    private void changing() {
        cases.put("update-tags", () -> {
            Map<String, String> tags = Map.of("colour", "red", "size", "9");
            KeyVaultKey key = keys.updateKeyProperties(keys.getKey(main).getProperties().setTags(tags));
            expect(key.getProperties().getTags().equals(tags), "both tags");
        });
        cases.put("update-operations", () -> {
            KeyVaultKey key = keys.updateKeyProperties(first.getProperties(), KeyOperation.SIGN,
                    KeyOperation.VERIFY);
            expect(key.getKeyOperations().equals(List.of(KeyOperation.SIGN, KeyOperation.VERIFY)),
                    "sign and verify");
        });
        cases.put("update-expiry", () -> {
            OffsetDateTime expiry = inSeconds(172800);
            KeyVaultKey key =
                    keys.updateKeyProperties(keys.getKey(main).getProperties().setExpiresOn(expiry));
            expect(key.getProperties().getExpiresOn().isEqual(expiry), "its expiry");
            expect("red".equals(key.getProperties().getTags().get("colour")), "the tags stay");
        });
        cases.put("update-disable", () -> enable(keys.getKey(main), false));
        cases.put("update-enable", () -> enable(keys.getKey(main), true));
    }

    private void enable(KeyVaultKey key, boolean enabled) {
        KeyVaultKey changed = keys.updateKeyProperties(key.getProperties().setEnabled(enabled));
        expect(changed.getProperties().isEnabled() == enabled, "enabled: " + enabled);
    }

    private void using() {
        for (String name : List.of("RSA-OAEP", "RSA-OAEP-256")) {
            EncryptionAlgorithm encryption = EncryptionAlgorithm.fromString(name);
            KeyWrapAlgorithm wrap = KeyWrapAlgorithm.fromString(name);
            cases.put("encrypt-" + name.toLowerCase(), () -> {
                byte[] sealed = cryptoOf(second).encrypt(encryption, "words".getBytes()).getCipherText();
                byte[] back = remoteOf(second).decrypt(encryption, sealed).getPlainText();
                expect(new String(back).equals("words"), "the plaintext again");
            });
            cases.put("wrap-" + name.toLowerCase(), () -> {
                unwraps(remoteOf(second), wrap);
                unwraps(cryptoOf(second), wrap);
            });
        }
        for (String name : List.of("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")) {
            SignatureAlgorithm algorithm = SignatureAlgorithm.fromString(name);
            cases.put("sign-" + name.toLowerCase(), () -> {
                byte[] sum = digest(algorithm);
                byte[] made = cryptoOf(second).sign(algorithm, sum).getSignature();
                expect(cryptoOf(second).verify(algorithm, sum, made).isValid(), "a good signature");
                expect(remoteOf(second).verify(algorithm, sum, made).isValid(), "the server agrees");
            });
        }
        cases.put("verify-refuses", () -> {
            byte[] sum = digest(SignatureAlgorithm.PS256);
            byte[] made = cryptoOf(second).sign(SignatureAlgorithm.PS256, sum).getSignature();
            made[9] ^= 1;
            expect(!remoteOf(second).verify(SignatureAlgorithm.PS256, sum, made).isValid(), "false");
        });
    }

    private static void unwraps(CryptographyClient client, KeyWrapAlgorithm algorithm) {
        byte[] dataKey = random(32);
        byte[] wrapped = client.wrapKey(algorithm, dataKey).getEncryptedKey();
        expect(Arrays.equals(client.unwrapKey(algorithm, wrapped).getKey(), dataKey),
                "the data key again");
    }

    private void rotating() {
        cases.put("rotate", () -> {
            KeyVaultKey key = keys.rotateKey(main);
            expect(!key.getId().equals(second.getId()), "another version");
            expect(keys.getKey(main).getId().equals(key.getId()), "it is the newest");
        });
        cases.put("rotation-policy-set", () -> {
            KeyRotationPolicy policy = new KeyRotationPolicy().setExpiresIn("P90D")
                    .setLifetimeActions(List.of(new KeyRotationLifetimeAction(
                            KeyRotationPolicyAction.ROTATE).setTimeBeforeExpiry("P30D")));
            expect("P90D".equals(keys.updateKeyRotationPolicy(main, policy).getExpiresIn()),
                    "its expiry");
        });
        cases.put("rotation-policy-get", () -> {
            KeyRotationPolicy policy = keys.getKeyRotationPolicy(main);
            boolean found = policy.getLifetimeActions().stream()
                    .anyMatch(action -> action.getAction().toString().equalsIgnoreCase("rotate")
                            && "P30D".equals(action.getTimeBeforeExpiry()));
            expect(found && "P90D".equals(policy.getExpiresIn()), "what was set");
        });
    }

    private void deleting() {
        cases.put("backup", () -> {
            backup = keys.backupKey(main);
            expect(backup.length > 0, "a backup");
        });
        cases.put("delete", () -> {
            DeletedKey gone = remove(main);
            expect(gone.getName().equals(main)
                    && gone.getScheduledPurgeDate().isAfter(gone.getDeletedOn()), "its purge date");
        });
        cases.put("create-while-deleted", () -> refused(409, "Conflict",
                "ObjectIsDeletedButRecoverable",
                () -> keys.createRsaKey(new CreateRsaKeyOptions(main))));
        cases.put("get-deleted", () -> {
            DeletedKey gone = keys.getDeletedKey(main);
            expect(gone.getName().equals(main) && gone.getRecoveryId().contains("/deletedkeys/"),
                    "the key");
        });
        cases.put("list-deleted", () -> expect(all(keys.listDeletedKeys()).stream()
                .anyMatch(item -> item.getName().equals(main)), "the key among them"));
        cases.put("recover", () -> {
            keys.beginRecoverDeletedKey(main).setPollInterval(OFTEN)
                    .waitForCompletion(Duration.ofSeconds(30));
            expect(keys.getKey(main).getName().equals(main), "it is there again");
        });
        cases.put("purge", () -> {
            remove(main);
            keys.purgeDeletedKey(main);
            refused(404, "KeyNotFound", null, () -> keys.getDeletedKey(main));
        });
    }

    private void moving() {
        cases.put("restore", () -> {
            expect(keys.restoreKeyBackup(backup).getName().equals(main), "its name");
            KeyVaultKey old = keys.getKey(main, second.getProperties().getVersion());
            expect(Arrays.equals(old.getKey().getN(), second.getKey().getN()),
                    "the versions, with their keys");
            unwraps(remoteOf(old), KeyWrapAlgorithm.RSA_OAEP_256);
        });
        cases.put("import", () -> {
            KeyPairGenerator generator = KeyPairGenerator.getInstance("RSA");
            generator.initialize(2048);
            KeyPair pair = generator.generateKeyPair();
            List<KeyOperation> operations =
                    List.of(KeyOperation.WRAP_KEY, KeyOperation.UNWRAP_KEY);
            JsonWebKey key = JsonWebKey.fromRsa(pair, operations);
            KeyVaultKey there = keys.importKey(brought, key);
            expect(Arrays.equals(there.getKey().getN(), key.getN()) && there.getKey().getD() == null,
                    "its public half");
            unwraps(remoteOf(there), KeyWrapAlgorithm.RSA_OAEP_256);
        });
        cases.put("random", () -> expect(keys.getRandomBytes(24).length == 24, "24 bytes"));
    }

    private void refusals() {
        cases.put("unknown-key", () -> refused(404, "KeyNotFound", null,
                () -> keys.getKey(prefix + "-none")));
        cases.put("unknown-version", () -> refused(404, "KeyNotFound", null,
                () -> keys.getKey(main, "0".repeat(32))));
        cases.put("disabled-key", () -> {
            KeyWrapAlgorithm algorithm = KeyWrapAlgorithm.RSA_OAEP_256;
            byte[] wrapped = remoteOf(second).wrapKey(algorithm, random(32)).getEncryptedKey();
            KeyVaultKey key = keys.getKey(main, second.getProperties().getVersion());
            enable(key, false);
            try {
                refused(403, "Forbidden", "KeyDisabled",
                        () -> remoteOf(second).unwrapKey(algorithm, wrapped));
            } finally {
                enable(key, true);
            }
        });
        cases.put("operation-not-allowed", () -> refused(403, "Forbidden", "KeyOperationForbidden",
                () -> remoteOf(keys.getKey(other)).sign(SignatureAlgorithm.RS256,
                        digest(SignatureAlgorithm.RS256))));
        cases.put("unwrap-garbage", () -> {
            byte[] garbage = new byte[256];
            Arrays.fill(garbage, (byte) 7);
            refused(400, "BadParameter", null,
                    () -> remoteOf(second).unwrapKey(KeyWrapAlgorithm.RSA_OAEP_256, garbage));
        });
        cases.put("create-ec", () -> refused(400, "NotSupported", null,
                () -> keys.createEcKey(new CreateEcKeyOptions(prefix + "-ec"))));
        cases.put("bad-name", () -> refused(400, "BadParameter", null, () -> keys.getKey("bad_name")));
        cases.put("wrong-token", () -> refused(401, "Unauthorized", null,
                () -> stranger.getKey(main)));
        cases.put("reader-gets", () -> expect(reader.getKey(main).getName().equals(main), "the key"));
        cases.put("reader-may-not-create", () -> refused(403, "Forbidden", "ForbiddenByRbac",
                () -> reader.createRsaKey(new CreateRsaKeyOptions(prefix + "-no"))));
    }

    private int run(List<String> names) {
        int failed = 0;
        int number = 0;
        System.out.println("1.." + names.size());
        for (String name : names) {
            number++;
            Body body = cases.get(name);
            try {
                expect(body != null, "that it is tried");
                body.run();
                System.out.println("ok " + number + " java " + name);
            } catch (Exception | AssertionError error) {
                failed++;
                System.out.println("not ok " + number + " java " + name);
                System.out.println("# " + error.toString().replace("\n", "\n# "));
                for (StackTraceElement at : error.getStackTrace()) {
                    if (at.getClassName().startsWith("Drive")) {
                        System.out.println("#   at " + at);
                    }
                }
            }
        }
        for (String name : List.of(main, other, brought)) {
            try {
                remove(name);
                keys.purgeDeletedKeyWithResponse(name, Context.NONE);
            } catch (RuntimeException ignored) {
                // It was never made, which a case has said.
            }
        }
        return failed;
    }

    public static void main(String[] arguments) throws Exception {
        List<String> names = Files.readAllLines(Path.of(System.getenv("KW_CLIENT_CASES")));
        System.exit(new Drive().run(names) == 0 ? 0 : 1);
    }
}
