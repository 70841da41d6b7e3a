// An OpenID provider that is not ours: npm's oidc-provider over TLS, on 127.0.0.1 and a port that the system chooses.
//
//   NODE_PATH=MODULES node issuer.mjs DIRECTORY
//
// DIRECTORY has server.pem and server.key; it writes DIRECTORY/port, and serves until it is ended. Its clients get JWTs
// by the client credentials grant; what a token is like is told by the `resource` that it is for.
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const { default: Provider } = await import(pathToFileURL(createRequire(import.meta.url).resolve('oidc-provider')));
const directory = process.argv[2];

const key = (kid, type, options) => ({ ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), kid });
const keys = [
  key('rsa-1', 'rsa', { modulusLength: 2048 }),
  key('ec-1', 'ec', { namedCurve: 'P-256' }),
  key('ed-1', 'ed25519', {}),
];

const resources = {
  'urn:vault:good': { audience: 'strongroom' },
  'urn:vault:es256': { audience: 'strongroom', jwt: { sign: { alg: 'ES256' } } },
  'urn:vault:eddsa': { audience: 'strongroom', jwt: { sign: { alg: 'EdDSA' } } },
  // Of the same key as RS256, and not among the issuer's algorithms in callers.toml.
  'urn:vault:ps256': { audience: 'strongroom', jwt: { sign: { alg: 'PS256' } } },
  'urn:vault:elsewhere': { audience: 'elsewhere' },
  'urn:vault:short': { audience: 'strongroom', accessTokenTTL: 1 },
  'urn:vault:long': { audience: 'strongroom', accessTokenTTL: 2 * 3600 },
};

const client = (name) => ({
  client_id: name,
  client_secret: `${name}-secret`,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
});

const provider = new Provider('https://issuer.example', {
  clients: ['blue-robot', 'red-robot'].map(client),
  jwks: { keys },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, resource) => ({
        scope: '',
        accessTokenTTL: 300,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'RS256' } },
        ...resources[resource],
      }),
    },
  },
  extraTokenClaims: (_, token) => ({ team: token.clientId.split('-')[0], run: { id: 4711 } }),
});

const tls = { cert: readFileSync(`${directory}/server.pem`), key: readFileSync(`${directory}/server.key`) };
const server = createServer(tls, provider.callback());
server.listen(0, '127.0.0.1', () => {
  writeFileSync(`${directory}/port.new`, String(server.address().port));
  renameSync(`${directory}/port.new`, `${directory}/port`);
});
