// Drives a Key Vault keys endpoint with azkeys; prints TAP. Its environment is in ../run, the cases
// are in ../cases.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// What azidentity would be: a credential, here of one token that is there already.
type fixedToken string

func (token fixedToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(token), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// A fault ends a case.
type fault string

func expect(condition bool, what string) {
	if !condition {
		panic(fault("expected: " + what))
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(fault(err.Error()))
	}
	return value
}

func refused(status int, code, inner string, err error) {
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) {
		panic(fault(fmt.Sprintf("expected %d %s, but: %v", status, code, err)))
	}
	var said struct {
		Error struct {
			Code  string
			Inner struct{ Code string } `json:"innererror"`
		}
	}
	body := must(io.ReadAll(answer.RawResponse.Body))
	_ = json.Unmarshal(body, &said)
	good := answer.StatusCode == status && answer.ErrorCode == code && said.Error.Inner.Code == inner
	expect(good, fmt.Sprintf("%d %s %s, not %d %s", status, code, inner, answer.StatusCode, body))
}

var ctx = context.Background()

func read(variable string) string {
	return strings.TrimSpace(string(must(os.ReadFile(os.Getenv(variable)))))
}

func client(token string) *azkeys.Client {
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM([]byte(read("KW_CLIENT_CA")))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authorities}}
	return must(azkeys.NewClient(os.Getenv("KW_CLIENT_URL"), fixedToken(token), &azkeys.ClientOptions{
		ClientOptions:                        azcore.ClientOptions{Transport: &http.Client{Transport: transport}},
		DisableChallengeResourceVerification: os.Getenv("KW_CLIENT_VERIFY") == "0",
	}))
}

func digest(algorithm azkeys.SignatureAlgorithm) []byte {
	switch algorithm[2:] {
	case "256":
		sum := sha256.Sum256([]byte("text"))
		return sum[:]
	case "384":
		sum := sha512.Sum384([]byte("text"))
		return sum[:]
	}
	sum := sha512.Sum512([]byte("text"))
	return sum[:]
}

func random(size int) []byte {
	bytes := make([]byte, size)
	must(rand.Read(bytes))
	return bytes
}

// The cases share what they have made.
type suite struct {
	keys, reader, stranger *azkeys.Client
	prefix                 string
	main, other, brought   string
	first, second          azkeys.KeyBundle
	backup                 []byte
}

func rsaKey() azkeys.CreateKeyParameters {
	return azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), KeySize: to.Ptr(int32(2048))}
}

// What is backed up later is made with these.
func backupKey() azkeys.CreateKeyParameters {
	parameters := rsaKey()
	if os.Getenv("KW_CLIENT_EXPORTABLE") == "1" {
		parameters.KeyAttributes = &azkeys.KeyAttributes{Exportable: to.Ptr(true)}
	}
	return parameters
}

func (s *suite) get(name, version string) azkeys.KeyBundle {
	return must(s.keys.GetKey(ctx, name, version, nil)).KeyBundle
}

func (s *suite) update(version string, parameters azkeys.UpdateKeyParameters) azkeys.KeyBundle {
	return must(s.keys.UpdateKey(ctx, s.main, version, parameters, nil)).KeyBundle
}

// Deleting has no poller in this package: it is over when the deleted key is there.
func (s *suite) remove(name string) (azkeys.DeletedKey, error) {
	answer, err := s.keys.DeleteKey(ctx, name, nil)
	if err != nil {
		return azkeys.DeletedKey{}, err
	}
	for range 50 {
		if _, err = s.keys.GetDeletedKey(ctx, name, nil); err == nil {
			return answer.DeletedKey, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return azkeys.DeletedKey{}, err
}

func (s *suite) create() {
	s.first = must(s.keys.CreateKey(ctx, s.main, backupKey(), nil)).KeyBundle
	id := s.first.Key.KID
	expect(id.Name() == s.main && len(s.first.Key.N) == 256, "a key of 2048 bits")
	expect(regexp.MustCompile("^[0-9a-f]{32}$").MatchString(id.Version()), "a version of 32 hex digits")
	expect(*s.first.Attributes.Enabled && s.first.Attributes.Created != nil, "attributes")
	ops := func(op *azkeys.KeyOperation) bool { return *op == azkeys.KeyOperationUnwrapKey }
	expect(slices.ContainsFunc(s.first.Key.KeyOps, ops), "unwrapKey among its operations")
}

func (s *suite) createVersion() {
	s.second = must(s.keys.CreateKey(ctx, s.main, backupKey(), nil)).KeyBundle
	expect(*s.second.Key.KID != *s.first.Key.KID, "another version")
}

func (s *suite) createWithAttributes() {
	expires := time.Now().Add(24 * time.Hour).Truncate(time.Second)
	parameters := rsaKey()
	parameters.KeyOps = to.SliceOfPtrs(azkeys.KeyOperationWrapKey, azkeys.KeyOperationUnwrapKey)
	parameters.Tags = map[string]*string{"team": to.Ptr("blue")}
	parameters.KeyAttributes = &azkeys.KeyAttributes{Expires: &expires, NotBefore: to.Ptr(time.Unix(1, 0))}
	key := must(s.keys.CreateKey(ctx, s.other, parameters, nil))
	expect(len(key.Key.KeyOps) == 2, "two operations")
	expect(*key.Tags["team"] == "blue", "its tag")
	expect(key.Attributes.Expires.Equal(expires), "its expiry")
	expect(key.Attributes.NotBefore.Unix() == 1, "its first second")
}

func (s *suite) getNewest() {
	key := s.get(s.main, "")
	expect(*key.Key.KID == *s.second.Key.KID && bytes.Equal(key.Key.N, s.second.Key.N), "the newest version")
}

func (s *suite) getVersion() {
	key := s.get(s.main, s.first.Key.KID.Version())
	expect(*key.Key.KID == *s.first.Key.KID && bytes.Equal(key.Key.N, s.first.Key.N), "the first version")
}

func (s *suite) list() {
	ours := 0
	for pager := s.keys.NewListKeyPropertiesPager(nil); pager.More(); {
		for _, item := range must(pager.NextPage(ctx)).Value {
			if strings.HasPrefix(item.KID.Name(), s.prefix) {
				expect(item.KID.Version() == "", "no version")
				ours++
			}
		}
	}
	expect(ours == 2, "two keys")
}

func (s *suite) listVersions() {
	var versions []string
	for pager := s.keys.NewListKeyPropertiesVersionsPager(s.main, nil); pager.More(); {
		for _, item := range must(pager.NextPage(ctx)).Value {
			versions = append(versions, item.KID.Version())
		}
	}
	for _, key := range []azkeys.KeyBundle{s.first, s.second} {
		expect(slices.Contains(versions, key.Key.KID.Version()), "both versions")
	}
	expect(len(versions) == 2, "two versions")
}

func (s *suite) updateTags() {
	tags := map[string]*string{"colour": to.Ptr("red"), "size": to.Ptr("9")}
	key := s.update("", azkeys.UpdateKeyParameters{Tags: tags})
	expect(*key.Tags["colour"] == "red" && *key.Tags["size"] == "9", "both tags")
}

func (s *suite) updateOperations() {
	ops := to.SliceOfPtrs(azkeys.KeyOperationSign, azkeys.KeyOperationVerify)
	key := s.update(s.first.Key.KID.Version(), azkeys.UpdateKeyParameters{KeyOps: ops})
	expect(len(key.Key.KeyOps) == 2 && *key.Key.KeyOps[0] == azkeys.KeyOperationSign, "sign and verify")
}

func (s *suite) updateExpiry() {
	expires := time.Now().Add(48 * time.Hour).Truncate(time.Second)
	key := s.update("", azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Expires: &expires}})
	expect(key.Attributes.Expires.Equal(expires), "its expiry")
	expect(*key.Tags["colour"] == "red", "the tags stay")
}

func (s *suite) enable(version string, enabled bool) {
	attributes := &azkeys.KeyAttributes{Enabled: &enabled}
	key := s.update(version, azkeys.UpdateKeyParameters{KeyAttributes: attributes})
	expect(*key.Attributes.Enabled == enabled, fmt.Sprintf("enabled: %v", enabled))
}

func operation(algorithm azkeys.EncryptionAlgorithm, value []byte) azkeys.KeyOperationParameters {
	return azkeys.KeyOperationParameters{Algorithm: &algorithm, Value: value}
}

func (s *suite) encrypt(algorithm azkeys.EncryptionAlgorithm) {
	version := s.second.Key.KID.Version()
	sealed := must(s.keys.Encrypt(ctx, s.main, version, operation(algorithm, []byte("words")), nil))
	back := must(s.keys.Decrypt(ctx, s.main, version, operation(algorithm, sealed.Result), nil))
	expect(string(back.Result) == "words", "the plaintext again")
}

func (s *suite) wrap(algorithm azkeys.EncryptionAlgorithm, name, version string) {
	dataKey := random(32)
	wrapped := must(s.keys.WrapKey(ctx, name, version, operation(algorithm, dataKey), nil))
	back := must(s.keys.UnwrapKey(ctx, name, version, operation(algorithm, wrapped.Result), nil))
	expect(bytes.Equal(back.Result, dataKey), "the data key again")
	expect(wrapped.KID.Version() == version && back.KID.Version() == version, "the version's id")
}

func (s *suite) sign(algorithm azkeys.SignatureAlgorithm) {
	version, sum := s.second.Key.KID.Version(), digest(algorithm)
	parameters := azkeys.SignParameters{Algorithm: &algorithm, Value: sum}
	made := must(s.keys.Sign(ctx, s.main, version, parameters, nil))
	expect(s.verify(algorithm, made.Result), "a good signature")
}

func (s *suite) verify(algorithm azkeys.SignatureAlgorithm, signature []byte) bool {
	parameters := azkeys.VerifyParameters{Algorithm: &algorithm, Digest: digest(algorithm), Signature: signature}
	answer := must(s.keys.Verify(ctx, s.main, s.second.Key.KID.Version(), parameters, nil))
	return *answer.Value
}

func (s *suite) verifyRefuses() {
	algorithm := azkeys.SignatureAlgorithmPS256
	parameters := azkeys.SignParameters{Algorithm: &algorithm, Value: digest(algorithm)}
	made := must(s.keys.Sign(ctx, s.main, s.second.Key.KID.Version(), parameters, nil))
	made.Result[9] ^= 1
	expect(!s.verify(algorithm, made.Result), "false")
}

func (s *suite) rotate() {
	key := must(s.keys.RotateKey(ctx, s.main, nil))
	expect(*key.Key.KID != *s.second.Key.KID, "another version")
	expect(*s.get(s.main, "").Key.KID == *key.Key.KID, "it is the newest")
}

func (s *suite) rotationPolicySet() {
	action := &azkeys.LifetimeAction{
		Action:  &azkeys.LifetimeActionType{Type: to.Ptr(azkeys.KeyRotationPolicyActionRotate)},
		Trigger: &azkeys.LifetimeActionTrigger{TimeBeforeExpiry: to.Ptr("P30D")},
	}
	policy := must(s.keys.UpdateKeyRotationPolicy(ctx, s.main, azkeys.KeyRotationPolicy{
		Attributes:      &azkeys.KeyRotationPolicyAttributes{ExpiryTime: to.Ptr("P90D")},
		LifetimeActions: []*azkeys.LifetimeAction{action},
	}, nil))
	expect(*policy.Attributes.ExpiryTime == "P90D", "its expiry")
}

func (s *suite) rotationPolicyGet() {
	policy := must(s.keys.GetKeyRotationPolicy(ctx, s.main, nil))
	found := false
	for _, action := range policy.LifetimeActions {
		if strings.EqualFold(string(*action.Action.Type), "Rotate") {
			found = *action.Trigger.TimeBeforeExpiry == "P30D"
		}
	}
	expect(found && *policy.Attributes.ExpiryTime == "P90D", "what was set")
}

func (s *suite) backUp() {
	s.backup = must(s.keys.BackupKey(ctx, s.main, nil)).Value
	expect(len(s.backup) > 0, "a backup")
}

func (s *suite) delete() {
	gone := must(s.remove(s.main))
	expect(gone.Key.KID.Name() == s.main && gone.ScheduledPurgeDate.After(*gone.DeletedDate), "its purge date")
}

func (s *suite) createWhileDeleted() {
	_, err := s.keys.CreateKey(ctx, s.main, rsaKey(), nil)
	refused(409, "Conflict", "ObjectIsDeletedButRecoverable", err)
}

func (s *suite) getDeleted() {
	gone := must(s.keys.GetDeletedKey(ctx, s.main, nil))
	expect(gone.Key.KID.Name() == s.main && strings.Contains(*gone.RecoveryID, "/deletedkeys/"), "the key")
}

func (s *suite) listDeleted() {
	found := false
	for pager := s.keys.NewListDeletedKeyPropertiesPager(nil); pager.More(); {
		for _, item := range must(pager.NextPage(ctx)).Value {
			found = found || item.KID.Name() == s.main
		}
	}
	expect(found, "the key among them")
}

func (s *suite) recover() {
	key := must(s.keys.RecoverDeletedKey(ctx, s.main, nil))
	expect(key.Key.KID.Name() == s.main, "its name")
	expect(*s.get(s.main, "").Key.KID == *key.Key.KID, "it is there again")
}

func (s *suite) purge() {
	must(s.remove(s.main))
	must(s.keys.PurgeDeletedKey(ctx, s.main, nil))
	_, err := s.keys.GetDeletedKey(ctx, s.main, nil)
	refused(404, "KeyNotFound", "", err)
}

func (s *suite) restore() {
	key := must(s.keys.RestoreKey(ctx, azkeys.RestoreKeyParameters{KeyBackup: s.backup}, nil))
	expect(key.Key.KID.Name() == s.main, "its name")
	version := s.second.Key.KID.Version()
	expect(bytes.Equal(s.get(s.main, version).Key.N, s.second.Key.N), "the versions, with their keys")
	s.wrap(azkeys.EncryptionAlgorithmRSAOAEP256, s.main, version)
}

func (s *suite) importKey() {
	private := must(rsa.GenerateKey(rand.Reader, 2048))
	key := must(s.keys.ImportKey(ctx, s.brought, azkeys.ImportKeyParameters{Key: &azkeys.JSONWebKey{
		Kty:    to.Ptr(azkeys.KeyTypeRSA),
		KeyOps: to.SliceOfPtrs(azkeys.KeyOperationWrapKey, azkeys.KeyOperationUnwrapKey),
		N:      private.N.Bytes(),
		E:      big.NewInt(int64(private.E)).Bytes(),
		D:      private.D.Bytes(),
		P:      private.Primes[0].Bytes(),
		Q:      private.Primes[1].Bytes(),
		DP:     private.Precomputed.Dp.Bytes(),
		DQ:     private.Precomputed.Dq.Bytes(),
		QI:     private.Precomputed.Qinv.Bytes(),
	}}, nil))
	expect(bytes.Equal(key.Key.N, private.N.Bytes()) && key.Key.D == nil, "its public half")
	s.wrap(azkeys.EncryptionAlgorithmRSAOAEP256, s.brought, key.Key.KID.Version())
}

func (s *suite) randomBytes() {
	parameters := azkeys.GetRandomBytesParameters{Count: to.Ptr(int32(24))}
	expect(len(must(s.keys.GetRandomBytes(ctx, parameters, nil)).Value) == 24, "24 bytes")
}

func (s *suite) unknownKey() {
	_, err := s.keys.GetKey(ctx, s.prefix+"-none", "", nil)
	refused(404, "KeyNotFound", "", err)
}

func (s *suite) unknownVersion() {
	_, err := s.keys.GetKey(ctx, s.main, strings.Repeat("0", 32), nil)
	refused(404, "KeyNotFound", "", err)
}

func (s *suite) disabledKey() {
	version := s.second.Key.KID.Version()
	wrapped := must(s.keys.WrapKey(ctx, s.main, version, operation("RSA-OAEP-256", []byte("x")), nil))
	s.enable(version, false)
	defer s.enable(version, true)
	_, err := s.keys.UnwrapKey(ctx, s.main, version, operation("RSA-OAEP-256", wrapped.Result), nil)
	refused(403, "Forbidden", "KeyDisabled", err)
}

func (s *suite) operationNotAllowed() {
	algorithm := azkeys.SignatureAlgorithmRS256
	parameters := azkeys.SignParameters{Algorithm: &algorithm, Value: digest(algorithm)}
	_, err := s.keys.Sign(ctx, s.other, "", parameters, nil)
	refused(403, "Forbidden", "KeyOperationForbidden", err)
}

func (s *suite) unwrapGarbage() {
	garbage := operation("RSA-OAEP-256", bytes.Repeat([]byte{7}, 256))
	_, err := s.keys.UnwrapKey(ctx, s.main, s.second.Key.KID.Version(), garbage, nil)
	refused(400, "BadParameter", "", err)
}

func (s *suite) createEC() {
	parameters := azkeys.CreateKeyParameters{
		Kty: to.Ptr(azkeys.KeyTypeEC), Curve: to.Ptr(azkeys.CurveNameP256),
	}
	_, err := s.keys.CreateKey(ctx, s.prefix+"-ec", parameters, nil)
	refused(400, "NotSupported", "", err)
}

func (s *suite) badName() {
	_, err := s.keys.GetKey(ctx, "bad_name", "", nil)
	refused(400, "BadParameter", "", err)
}

func (s *suite) wrongToken() {
	_, err := s.stranger.GetKey(ctx, s.main, "", nil)
	refused(401, "Unauthorized", "", err)
}

func (s *suite) readerGets() {
	expect(must(s.reader.GetKey(ctx, s.main, "", nil)).Key.KID.Name() == s.main, "the key")
}

func (s *suite) readerMayNotCreate() {
	_, err := s.reader.CreateKey(ctx, s.prefix+"-no", rsaKey(), nil)
	refused(403, "Forbidden", "ForbiddenByRbac", err)
}

func (s *suite) cases() map[string]func() {
	cases := map[string]func(){
		"create": s.create, "create-version": s.createVersion,
		"create-with-attributes": s.createWithAttributes,
		"get":                    s.getNewest, "get-version": s.getVersion,
		"list": s.list, "list-versions": s.listVersions,
		"update-tags": s.updateTags, "update-operations": s.updateOperations,
		"update-expiry":  s.updateExpiry,
		"update-disable": func() { s.enable("", false) }, "update-enable": func() { s.enable("", true) },
		"verify-refuses": s.verifyRefuses, "rotate": s.rotate,
		"rotation-policy-set": s.rotationPolicySet, "rotation-policy-get": s.rotationPolicyGet,
		"backup": s.backUp, "delete": s.delete, "create-while-deleted": s.createWhileDeleted,
		"get-deleted": s.getDeleted, "list-deleted": s.listDeleted, "recover": s.recover,
		"purge": s.purge, "restore": s.restore, "import": s.importKey, "random": s.randomBytes,
		"unknown-key": s.unknownKey, "unknown-version": s.unknownVersion,
		"disabled-key": s.disabledKey, "operation-not-allowed": s.operationNotAllowed,
		"unwrap-garbage": s.unwrapGarbage, "create-ec": s.createEC, "bad-name": s.badName,
		"wrong-token": s.wrongToken, "reader-gets": s.readerGets,
		"reader-may-not-create": s.readerMayNotCreate,
	}
	for _, algorithm := range []azkeys.EncryptionAlgorithm{"RSA-OAEP", "RSA-OAEP-256"} {
		name := strings.ToLower(string(algorithm))
		cases["encrypt-"+name] = func() { s.encrypt(algorithm) }
		cases["wrap-"+name] = func() { s.wrap(algorithm, s.main, s.second.Key.KID.Version()) }
	}
	for _, algorithm := range []azkeys.SignatureAlgorithm{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"} {
		cases["sign-"+strings.ToLower(string(algorithm))] = func() { s.sign(algorithm) }
	}
	return cases
}

func try(body func()) (result string) {
	defer func() {
		if caught := recover(); caught != nil {
			result = fmt.Sprint(caught)
		}
	}()
	body()
	return ""
}

func main() {
	prefix := "go-" + hex.EncodeToString(random(4))
	s := &suite{
		keys: client(read("KW_CLIENT_TOKEN")), reader: client(read("KW_CLIENT_TOKEN_READER")),
		stranger: client("not-a-token"), prefix: prefix,
		main: prefix + "-main", other: prefix + "-other", brought: prefix + "-brought",
	}
	names := strings.Fields(read("KW_CLIENT_CASES"))
	cases, failed := s.cases(), 0
	fmt.Printf("1..%d\n", len(names))
	for i, name := range names {
		body, known := cases[name]
		if !known {
			body = func() { panic(fault("it was not tried")) }
		}
		if said := try(body); said != "" {
			failed++
			fmt.Printf("not ok %d go %s\n# %s\n", i+1, name, strings.ReplaceAll(said, "\n", "\n# "))
		} else {
			fmt.Printf("ok %d go %s\n", i+1, name)
		}
	}
	for _, name := range []string{s.main, s.other, s.brought} {
		if _, err := s.remove(name); err == nil { // else it was never made, which a case has said
			_, _ = s.keys.PurgeDeletedKey(ctx, name, nil)
		}
	}
	if failed > 0 {
		os.Exit(1)
	}
}
