// Verifies a bundle with a public key: `node verify.js NODE_MODULES BUNDLE KEY`. Prints the signed payload, or
// the error's code on stderr.
const { createRequire } = require("module");
const fs = require("fs");
const [modules, bundlePath, keyPath] = process.argv.slice(2);
const load = createRequire(modules + "/");
const { bundleFromJSON } = load("@sigstore/bundle");
const { crypto } = load("@sigstore/core");
const { Verifier, toSignedEntity, toTrustMaterial } = load("@sigstore/verify");

const key = crypto.createPublicKey(fs.readFileSync(keyPath, "utf8"));
const nobody = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
const trust = toTrustMaterial(nobody, () => ({ publicKey: key, validFor: () => true }));
const verifier = new Verifier(trust, { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 });
try {
  const bundle = bundleFromJSON(JSON.parse(fs.readFileSync(bundlePath)));
  verifier.verify(toSignedEntity(bundle));
  process.stdout.write(bundle.content.dsseEnvelope.payload);
} catch (error) {
  process.stderr.write(`${error.code || error.name}: ${error.message}\n`);
  process.exit(1);
}
