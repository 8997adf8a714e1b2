/**
 * A certified OpenID provider for the interop tests: one process, one loopback port.
 *
 * The resource indicator of a token request chooses the kind of access token: its last path segment
 * is a name in ACCESS_TOKENS. What a token of a resource in EXTRA_CLAIMS says of somebody is there too. Says where it listens in one line of JSON on standard output, writes
 * everything else to standard error, and exits when its standard input closes.
 *
 * It is the issuer that it is asked as: whoever reaches it through a proxy, and says so in Host, finds
 * that proxy's address in `iss` and in the metadata. The keys are the same under each name.
 *
 *   POST /__stage            new keys, published beside those that sign, and signing nothing yet
 *   POST /__rotate           the staged keys, or new ones, sign from now on; the former ones stay published
 *                            (two generations)
 *   POST /__rotate?drop=1    the same, but the former ones are withdrawn
 *   POST /__replace          new keys sign from now on, under the key IDs of those that did, which are gone
 *   POST /__withdraw         the former keys are withdrawn; those that sign, and staged ones, stay
 *   GET  /__requests         how often each other path was asked for: {"/jwks": 3, ...}
 */

import { Console } from 'node:console';
import { createPublicKey, generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import { ACCOUNTS, EXTRA_CLAIMS } from './claims.mjs';
import { OUTBOUND_CLIENTS, privateKeys } from './outbound.mjs';

// Standard output carries one line; oidc-provider prints its development warnings through the console.
globalThis.console = new Console(process.stderr);
const { Provider, errors } = await import('oidc-provider');

const RESOURCE_BASE = 'https://api.example.com/';
const SCOPE = 'orders:read orders:write';
const LIFETIME = 600; // seconds
const KEPT = 2; // former generations of keys that stay published; resource servers bound the size of a set
const SECRET = randomBytes(64);

const signed = (alg) => () => ({ accessTokenFormat: 'jwt', jwt: { sign: { alg } } });

// Resource name -> what the provider needs to know, given the keys that sign at that moment.
const ACCESS_TOKENS = {
  rs256: signed('RS256'),
  ps256: signed('PS256'),
  es256: signed('ES256'),
  es384: signed('ES384'),
  es512: signed('ES512'),
  eddsa: signed('EdDSA'), // RFC 8037
  ed25519: signed('Ed25519'), // RFC 9864
  'own-names': signed('ES256'),
  standard: signed('ES256'),
  delegated: signed('ES256'),
  'keycloak-shaped': signed('ES256'),
  'auth0-shaped': signed('ES256'),
  'okta-shaped': signed('ES256'),
  elsewhere: signed('RS256'), // a good token that the API is not the audience of
  opaque: () => ({ accessTokenFormat: 'opaque' }),
  hs256: () => ({
    accessTokenFormat: 'jwt',
    jwt: { sign: { alg: 'HS256', key: SECRET } },
  }),
  // The classic confusion: HMAC keyed with the published RSA key, whose key ID the header names.
  'hs256-public-key': ({ rsa }) => ({
    accessTokenFormat: 'jwt',
    jwt: { sign: { alg: 'HS256', key: Buffer.from(publicPem(rsa)), kid: rsa.kid } },
  }),
  // Signed, then encrypted to a key of the published set.
  jwe: ({ rsaEncryption }) => ({
    accessTokenFormat: 'jwt',
    jwt: {
      sign: { alg: 'RS256' },
      encrypt: {
        alg: 'RSA-OAEP',
        enc: 'A128CBC-HS256',
        key: createPublicKey({ key: rsaEncryption, format: 'jwk' }),
        kid: rsaEncryption.kid,
      },
    },
  }),
  // Encrypted with a shared key and not signed at all.
  'jwe-direct': () => ({
    accessTokenFormat: 'jwt',
    jwt: { encrypt: { alg: 'dir', enc: 'A128CBC-HS256', key: SECRET.subarray(0, 32) } },
  }),
};

const CLIENTS = ['nightly-export', 'warehouse'].map((clientId) => ({
  client_id: clientId,
  client_secret: randomBytes(32).toString('base64url'),
  grant_types: ['client_credentials'],
  response_types: [],
  redirect_uris: [],
  scope: SCOPE,
  token_endpoint_auth_method: 'client_secret_basic',
}));

// What persons use: they sign in with any password, and consent, on the provider's own pages.
const APPLICATION = {
  client_id: 'storefront',
  client_secret: randomBytes(32).toString('base64url'),
  grant_types: ['authorization_code'],
  response_types: ['code'],
  redirect_uris: ['http://127.0.0.1/callback'],
  scope: `openid ${SCOPE}`,
  token_endpoint_auth_method: 'client_secret_basic',
};
CLIENTS.push(APPLICATION);
CLIENTS.push(...OUTBOUND_CLIENTS.map((client) => ({ ...client, scope: `openid ${SCOPE}` })));

/** What a token says beyond the provider's own claims; a person's, when they signed in (RFC 9068 §2.2.1). */
function extraTokenClaims(ctx, token) {
  const claims = EXTRA_CLAIMS[token.aud.slice(RESOURCE_BASE.length)]?.[token.accountId ?? token.clientId];
  return { auth_time: ctx.oidc.entities.AuthorizationCode?.authTime, ...claims };
}

function publicPem(jwk) {
  return createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' });
}

function generateKey(type, options, members) {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), ...members };
}

// Signs nothing, and an RSA key takes long to make: each generation has it, under a key ID of its own.
const RSA_ENCRYPTION = generateKey('rsa', { modulusLength: 2048 }, { use: 'enc' });

/** One generation of keys: those that sign, and those a resource server must leave alone. */
function generateKeys() {
  return {
    rsa: generateKey('rsa', { modulusLength: 2048 }, { use: 'sig' }),
    p256: generateKey('ec', { namedCurve: 'P-256' }, { use: 'sig' }),
    p384: generateKey('ec', { namedCurve: 'P-384' }, { use: 'sig' }),
    p521: generateKey('ec', { namedCurve: 'P-521' }, { use: 'sig' }),
    ed25519: generateKey('ed25519', {}, { use: 'sig' }),
    rsaEncryption: { ...RSA_ENCRYPTION, kid: randomUUID() },
    x25519: generateKey('x25519', {}, { use: 'enc' }),
    // ML-DSA: a key type younger than most resource servers. Never used, so any octets will do.
    akp: {
      kty: 'AKP',
      alg: 'ML-DSA-44',
      kid: randomUUID(),
      use: 'sig',
      pub: randomBytes(1312).toString('base64url'),
      priv: randomBytes(32).toString('base64url'),
    },
  };
}

/** Other keys under the same key IDs. */
function replaceKeys(keys) {
  const others = Object.entries(generateKeys());
  return Object.fromEntries(others.map(([name, key]) => [name, { ...key, kid: keys[name].kid }]));
}

function createProvider(issuer) {
  // Of the keys that fit, the first signs.
  const published = [signing, ...(staged ? [staged] : []), ...former];
  return new Provider(issuer, {
    clients: CLIENTS,
    scopes: ['openid', ...SCOPE.split(' ')],
    extraTokenClaims,
    findAccount: (ctx, id) => (ACCOUNTS.has(id) ? { accountId: id, claims: () => ({ sub: id }) } : undefined),
    jwks: { keys: published.flatMap((keys) => Object.values(keys)) },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      encryption: { enabled: true }, // else it will not publish keys with `use: enc`
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo(ctx, resource) {
          const name = resource.slice(RESOURCE_BASE.length);
          if (!Object.hasOwn(ACCESS_TOKENS, name)) throw new errors.InvalidTarget();
          return { audience: resource, scope: SCOPE, ...ACCESS_TOKENS[name](signing) };
        },
      },
    },
    // Without `offline_access` and its conditions: whoever may use a refresh token gets one, good once.
    issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    ttl: { AccessToken: LIFETIME, ClientCredentials: LIFETIME },
  });
}

let signing = generateKeys();
let staged; // published before they sign
let former = []; // newest first

const CONTROLS = {
  '/__stage'() {
    staged = generateKeys();
  },
  '/__rotate'(parameters) {
    former = parameters.has('drop') ? [] : [signing, ...former].slice(0, KEPT);
    signing = staged ?? generateKeys();
    staged = undefined;
  },
  '/__replace'() {
    signing = replaceKeys(signing);
  },
  '/__withdraw'() {
    former = [];
  },
};

const requests = new Map();
const delegates = new Map(); // by issuer; a provider takes its keys at construction only

function delegateOf(issuer) {
  if (!delegates.has(issuer)) delegates.set(issuer, createProvider(issuer).callback());
  return delegates.get(issuer);
}

function sendJson(response, body) {
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify(body));
}

const server = createServer((request, response) => {
  const issuer = `http://${request.headers.host}`;
  const { pathname, searchParams } = new URL(request.url, issuer);
  if (pathname === '/__requests') {
    sendJson(response, Object.fromEntries(requests));
    return;
  }
  if (Object.hasOwn(CONTROLS, pathname) && request.method === 'POST') {
    CONTROLS[pathname](searchParams);
    delegates.clear();
    sendJson(response, {});
    return;
  }
  requests.set(pathname, (requests.get(pathname) ?? 0) + 1);
  delegateOf(issuer)(request, response);
});

server.listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${server.address().port}`;
  const secrets = CLIENTS.map(({ client_id: id, client_secret: secret }) => [id, secret]);
  const outbound = OUTBOUND_CLIENTS.map((client) => ({
    client_id: client.client_id,
    auth_method: client.token_endpoint_auth_method,
    secret: client.client_secret ?? null,
    key: privateKeys[client.client_id] ?? null,
  }));
  const ready = {
    url,
    issuer: url,
    resource_base: RESOURCE_BASE,
    clients: Object.fromEntries(secrets),
    outbound,
  };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
});

// The parent is gone, however it went: leave no orphan.
process.stdin.resume().on('close', () => process.exit(0));
