// Drives a Key Vault keys endpoint with @azure/keyvault-keys; prints TAP. Its environment is in
// ../run, the cases are in ../cases.
import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { KeyClient, CryptographyClient } from "@azure/keyvault-keys";

const { KW_CLIENT_URL: url, KW_CLIENT_VERIFY: verify } = process.env;
const options = {
    tlsOptions: { ca: readFileSync(process.env.KW_CLIENT_CA) },
    disableChallengeResourceVerification: verify === "0",
};

// What azure-identity would be: a credential, here of one token that is there already.
class FixedToken {
    constructor(token) {
        this.token = token;
    }
    async getToken() {
        return { token: this.token, expiresOnTimestamp: Date.now() + 3600e3 };
    }
}
const tokenOf = (file) => new FixedToken(readFileSync(file, "utf8").trim());
const owner = tokenOf(process.env.KW_CLIENT_TOKEN);
const keys = new KeyClient(url, owner, options);
const reader = new KeyClient(url, tokenOf(process.env.KW_CLIENT_TOKEN_READER), options);
const stranger = new KeyClient(url, new FixedToken("not-a-token"), options);
const cryptoOf = (key) => new CryptographyClient(key, owner, options);

const cases = readFileSync(process.env.KW_CLIENT_CASES, "utf8").trim().split("\n");
const results = new Map();
async function test(name, body) {
    try {
        results.set(name, (await body()) ?? "ok");
    } catch (error) {
        results.set(name, `# ${error.stack ?? error}`);
    }
}
const skip = (why) => ({ skip: why });
function expect(condition, what) {
    if (!condition) throw new Error(`expected: ${what}`);
}
async function refused(status, code, inner, call) {
    let error;
    try {
        await call();
    } catch (thrown) {
        error = thrown;
    }
    expect(error, `${status} ${code}, but it succeeded`);
    const said = error.details?.error ?? {};
    const got = `${error.statusCode} ${said.code} ${said.innerError?.code}`;
    expect(
        error.statusCode === status && said.code === code && said.innerError?.code === inner,
        `${status} ${code} ${inner}, not ${got}: ${error.message}`,
    );
}
async function all(pages) {
    const found = [];
    for await (const page of pages) {
        expect(page.length <= 1, "pages of one");
        found.push(...page);
    }
    return found;
}
const same = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)) === 0;

const prefix = `js-${randomBytes(4).toString("hex")}`;
// What is backed up later is made with these.
const size = { keySize: 2048 };
if (process.env.KW_CLIENT_EXPORTABLE === "1") size.exportable = true;
const [main, other, brought] = ["main", "other", "brought"].map((s) => `${prefix}-${s}`);
let first, second;

await test("create", async () => {
    first = await keys.createRsaKey(main, size);
    expect(first.name === main && first.key.n.length === 256, "a key of 2048 bits");
    expect(/^[0-9a-f]{32}$/.test(first.properties.version), "a version of 32 hex digits");
    expect(first.properties.enabled && first.properties.createdOn instanceof Date, "attributes");
    expect(first.keyOperations.includes("unwrapKey"), "unwrapKey among its operations");
});
await test("create-version", async () => {
    second = await keys.createRsaKey(main, size);
    expect(second.properties.version !== first.properties.version, "another version");
});
await test("create-with-attributes", async () => {
    const expiresOn = new Date(Math.floor(Date.now() / 1000 + 86400) * 1000);
    const key = await keys.createRsaKey(other, {
        keySize: 2048,
        keyOps: ["wrapKey", "unwrapKey"],
        tags: { team: "blue" },
        notBefore: new Date(1000),
        expiresOn,
    });
    expect(key.keyOperations.length === 2, "two operations");
    expect(key.properties.tags.team === "blue", "its tag");
    expect(key.properties.expiresOn.getTime() === expiresOn.getTime(), "its expiry");
    expect(key.properties.notBefore.getTime() === 1000, "its first second");
});
await test("get", async () => {
    const key = await keys.getKey(main);
    expect(key.id === second.id && same(key.key.n, second.key.n), "the newest version");
});
await test("get-version", async () => {
    const key = await keys.getKey(main, { version: first.properties.version });
    expect(key.id === first.id && same(key.key.n, first.key.n), "the first version");
});
await test("list", async () => {
    const found = await all(keys.listPropertiesOfKeys().byPage({ maxPageSize: 1 }));
    const ours = found.filter((item) => item.name.startsWith(prefix));
    expect(ours.length === 2 && !ours[0].version, "two keys, without versions");
});
await test("list-versions", async () => {
    const found = await all(keys.listPropertiesOfKeyVersions(main).byPage({ maxPageSize: 1 }));
    const versions = found.map((item) => item.version).sort();
    const made = [first, second].map((key) => key.properties.version).sort();
    expect(versions.join() === made.join(), "both versions");
});
await test("update-tags", async () => {
    const key = await keys.updateKeyProperties(main, { tags: { colour: "red", size: "9" } });
    expect(key.properties.tags.colour === "red" && key.properties.tags.size === "9", "both tags");
});
await test("update-operations", async () => {
    const version = first.properties.version;
    const key = await keys.updateKeyProperties(main, version, { keyOps: ["sign", "verify"] });
    expect(key.keyOperations.join() === "sign,verify", "sign and verify");
});
await test("update-expiry", async () => {
    const expiresOn = new Date(Math.floor(Date.now() / 1000 + 172800) * 1000);
    const key = await keys.updateKeyProperties(main, { expiresOn });
    expect(key.properties.expiresOn.getTime() === expiresOn.getTime(), "its expiry");
    expect(key.properties.tags.colour === "red", "the tags stay");
});
await test("update-disable", async () => {
    const key = await keys.updateKeyProperties(main, { enabled: false });
    expect(key.properties.enabled === false, "disabled");
});
await test("update-enable", async () => {
    const key = await keys.updateKeyProperties(main, { enabled: true });
    expect(key.properties.enabled === true, "enabled");
});
for (const algorithm of ["RSA-OAEP", "RSA-OAEP-256"]) {
    await test(`encrypt-${algorithm.toLowerCase()}`, async () => {
        const client = cryptoOf(second);
        const plaintext = Buffer.from("a few words");
        const { result } = await client.encrypt({ algorithm, plaintext });
        const back = await client.decrypt({ algorithm, ciphertext: result });
        expect(same(back.result, plaintext), "the plaintext again");
    });
    await test(`wrap-${algorithm.toLowerCase()}`, async () => {
        const client = cryptoOf(second);
        const dataKey = randomBytes(32);
        const { result, keyID } = await client.wrapKey(algorithm, dataKey);
        const back = await client.unwrapKey(algorithm, result);
        expect(same(back.result, dataKey), "the data key again");
        expect(!keyID || keyID === second.id, "the version's id");
    });
}
for (const algorithm of ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]) {
    await test(`sign-${algorithm.toLowerCase()}`, async () => {
        const client = cryptoOf(second);
        const digest = createHash(`sha${algorithm.slice(2)}`).update("text").digest();
        const { result } = await client.sign(algorithm, digest);
        expect((await client.verify(algorithm, digest, result)).result, "a good signature");
    });
}
await test("verify-refuses", async () => {
    const client = cryptoOf(second);
    const digest = createHash("sha256").update("text").digest();
    const { result } = await client.sign("PS256", digest);
    result[9] ^= 1;
    expect((await client.verify("PS256", digest, result)).result === false, "false");
});
await test("rotate", async () => {
    const key = await keys.rotateKey(main);
    expect(key.properties.version !== second.properties.version, "another version");
    expect((await keys.getKey(main)).id === key.id, "it is the newest");
});
const lifetimeActions = [{ action: "Rotate", timeBeforeExpiry: "P30D" }];
await test("rotation-policy-set", async () => {
    const policy = await keys.updateKeyRotationPolicy(main, { expiresIn: "P90D", lifetimeActions });
    expect(policy.expiresIn === "P90D", "its expiry");
});
await test("rotation-policy-get", async () => {
    const policy = await keys.getKeyRotationPolicy(main);
    const rotate = policy.lifetimeActions.find(({ action }) => action === "Rotate");
    expect(policy.expiresIn === "P90D" && rotate.timeBeforeExpiry === "P30D", "what was set");
});
let blob;
await test("backup", async () => {
    blob = await keys.backupKey(main);
    expect(blob.length > 0, "a backup");
});
await test("delete", async () => {
    const poller = await keys.beginDeleteKey(main, { intervalInMs: 100 });
    const gone = await poller.pollUntilDone();
    expect(gone.name === main, "its name");
    expect(gone.properties.scheduledPurgeDate > gone.properties.deletedOn, "its purge date");
});
await test("create-while-deleted", () =>
    refused(409, "Conflict", "ObjectIsDeletedButRecoverable", () => keys.createRsaKey(main)));
await test("get-deleted", async () => {
    const gone = await keys.getDeletedKey(main);
    expect(gone.name === main && gone.properties.recoveryId.includes("/deletedkeys/"), "the key");
});
await test("list-deleted", async () => {
    const found = await all(keys.listDeletedKeys().byPage({ maxPageSize: 1 }));
    expect(found.some((item) => item.name === main), "the key among them");
});
await test("recover", async () => {
    const poller = await keys.beginRecoverDeletedKey(main, { intervalInMs: 100 });
    expect((await poller.pollUntilDone()).name === main, "its name");
    expect((await keys.getKey(main)).name === main, "it is there again");
});
await test("purge", async () => {
    await (await keys.beginDeleteKey(main, { intervalInMs: 100 })).pollUntilDone();
    await keys.purgeDeletedKey(main);
    await refused(404, "KeyNotFound", undefined, () => keys.getDeletedKey(main));
});
await test("restore", async () => {
    const key = await keys.restoreKeyBackup(blob);
    expect(key.name === main, "its name");
    const old = await keys.getKey(main, { version: second.properties.version });
    expect(same(old.key.n, second.key.n), "the versions, with their keys");
    const dataKey = randomBytes(32);
    const { result } = await cryptoOf(second).wrapKey("RSA-OAEP-256", dataKey);
    const back = await cryptoOf(old).unwrapKey("RSA-OAEP-256", result);
    expect(same(back.result, dataKey), "the version unwraps");
});
await test("import", async () => {
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const jwk = privateKey.export({ format: "jwk" });
    const key = { kty: "RSA", keyOps: ["wrapKey", "unwrapKey"] };
    for (const part of ["n", "e", "d", "p", "q", "dp", "dq", "qi"]) {
        key[part] = Buffer.from(jwk[part], "base64url");
    }
    const there = await keys.importKey(brought, key);
    expect(same(there.key.n, key.n) && !there.key.d, "its public half");
    const { result } = await cryptoOf(there).wrapKey("RSA-OAEP-256", key.e);
    const back = await cryptoOf(there).unwrapKey("RSA-OAEP-256", result);
    expect(same(back.result, key.e), "it unwraps");
});
await test("random", async () => {
    const bytes = await keys.getRandomBytes(24);
    expect(bytes.length === 24, "24 bytes");
});
await test("unknown-key", () =>
    refused(404, "KeyNotFound", undefined, () => keys.getKey(`${prefix}-none`)));
await test("unknown-version", () =>
    refused(404, "KeyNotFound", undefined, () => keys.getKey(main, { version: "0".repeat(32) })));
await test("disabled-key", async () => {
    const { result } = await cryptoOf(second).wrapKey("RSA-OAEP-256", Buffer.from("x"));
    const version = second.properties.version;
    await keys.updateKeyProperties(main, version, { enabled: false });
    try {
        await refused(403, "Forbidden", "KeyDisabled", () =>
            cryptoOf(second).unwrapKey("RSA-OAEP-256", result));
    } finally {
        await keys.updateKeyProperties(main, version, { enabled: true });
    }
});
await test("operation-not-allowed", async () => {
    // The client looks at the operations itself where it knows them: so it is told of others.
    const key = await keys.getKey(other);
    key.key.keyOps = key.keyOperations = ["sign"];
    await refused(403, "Forbidden", "KeyOperationForbidden", () =>
        cryptoOf(key).sign("RS256", createHash("sha256").digest()));
});
await test("unwrap-garbage", () =>
    refused(400, "BadParameter", undefined, () =>
        cryptoOf(second).unwrapKey("RSA-OAEP-256", Buffer.alloc(256, 7))));
await test("create-ec", () =>
    refused(400, "NotSupported", undefined, () => keys.createEcKey(`${prefix}-ec`)));
await test("bad-name", () => refused(400, "BadParameter", undefined, () => keys.getKey("bad_name")));
await test("wrong-token", () =>
    refused(401, "Unauthorized", undefined, () => stranger.getKey(main)));
await test("reader-gets", async () => {
    expect((await reader.getKey(main)).name === main, "the key");
});
await test("reader-may-not-create", () =>
    refused(403, "Forbidden", "ForbiddenByRbac", () => reader.createRsaKey(`${prefix}-no`)));

for (const name of [main, other, brought]) {
    try {
        await (await keys.beginDeleteKey(name, { intervalInMs: 100 })).pollUntilDone();
        await keys.purgeDeletedKey(name);
    } catch {
        // It was never made, which a case has said.
    }
}

let failed = 0;
console.log(`1..${cases.length}`);
cases.forEach((name, index) => {
    const result = results.get(name) ?? skip("this client can't");
    const good = result === "ok" || result.skip;
    if (!good) failed++;
    console.log(`${good ? "ok" : "not ok"} ${index + 1} js ${name}${result.skip ? ` # skip ${result.skip}` : ""}`);
    if (!good) console.log(result.replaceAll("\n", "\n# "));
});
process.exitCode = failed ? 1 : 0;
