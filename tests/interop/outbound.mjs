/**
 * Clients for calls of ours: one for each way to authenticate, all with every grant that it may use.
 *
 * Their refresh tokens are good once: see `rotateRefreshToken` in server.mjs. What a client needs beyond its
 * metadata to authenticate, a private key, is in `privateKeys` by client ID.
 */

import { generateKeyPairSync, randomBytes } from 'node:crypto';

/** What a form must encode, and HTTP Basic may not have as it is. */
const AWKWARD = ` :%+&=?/"'~`;

const OF_PERSONS = ['authorization_code', 'refresh_token'];
const OF_ANYBODY = ['client_credentials', ...OF_PERSONS];

const secret = () => randomBytes(32).toString('base64url');

export const privateKeys = {};

function outboundClient(clientId, method, grantTypes, members) {
  return {
    client_id: clientId,
    grant_types: grantTypes,
    response_types: ['code'],
    redirect_uris: ['http://127.0.0.1/callback'],
    token_endpoint_auth_method: method,
    ...members,
  };
}

/** A client whose key the provider knows the public half of. */
function signingClient(clientId, type, options, alg) {
  const { privateKey, publicKey } = generateKeyPairSync(type, options);
  const members = { kid: `${clientId}-1`, alg, use: 'sig' };
  privateKeys[clientId] = { ...privateKey.export({ format: 'jwk' }), ...members };
  const jwks = { keys: [{ ...publicKey.export({ format: 'jwk' }), ...members }] };
  return outboundClient(clientId, 'private_key_jwt', OF_ANYBODY, { jwks });
}

export const OUTBOUND_CLIENTS = [
  outboundClient(`basic${AWKWARD}`, 'client_secret_basic', OF_ANYBODY, { client_secret: secret() + AWKWARD }),
  outboundClient('post', 'client_secret_post', OF_ANYBODY, { client_secret: AWKWARD + secret() }),
  signingClient('key-rs256', 'rsa', { modulusLength: 2048 }, 'RS256'),
  signingClient('key-ps256', 'rsa', { modulusLength: 2048 }, 'PS256'),
  signingClient('key-es256', 'ec', { namedCurve: 'P-256' }, 'ES256'),
  signingClient('key-ed25519', 'ed25519', {}, 'Ed25519'),
  outboundClient('public', 'none', OF_PERSONS, {}), // a browser or mobile application
];
