/**
 * What access tokens say of persons and machines beyond the standard's claims, by resource and subject.
 *
 * A claim of the standard's (`sub`, `scope`, ...) cannot be set here: oidc-provider's own value wins.
 */

/** The chain of those who act for somebody (RFC 8693 §4.1), the current one first. */
const actors = (...chain) => chain.reduceRight((act, actor) => ({ ...actor, ...(act && { act }) }), undefined);

const HELPDESK = { sub: 'helpdesk', iss: 'https://login.example.com', client_id: 'desk-app' };

const MARIA = {
  // Names of the company's own; a name with dots and slashes in it is still one name.
  resource_access: { 'https://api.example.com/own-names': { roles: ['planner', 'buyer'] } },
  'https://acme.example/access_group': ['Orders:Agent', 'Orders:Viewer'],
  memberships: [
    { value: 'orders-emea', display: 'Orders EMEA', $ref: 'https://scim.acme.example/Groups/1' },
    { value: 'everyone' },
  ],
  scp: ['orders:read'],
  person: { company: 'acme', login: 'maria', mail: 'maria@acme.example' },
};

/** What other providers put into access tokens, in their shapes, for the profiles named after them. */
const KEYCLOAK = {
  typ: 'Bearer',
  azp: 'storefront',
  realm_access: { roles: ['default-roles-shop', 'employee'] },
  resource_access: {
    'https://api.example.com/keycloak-shaped': { roles: ['planner', 'buyer'] },
    account: { roles: ['view-profile'] },
  },
  groups: ['/emea'],
  preferred_username: 'maria.k',
  email: 'maria@acme.example',
};
const AUTH0 = { azp: 'storefront', org_id: 'org_acme', permissions: ['approve:orders', 'read:orders'] };
const OKTA = { ver: 1, cid: 'storefront', uid: '00u1maria', scp: ['openid', 'orders:read'], groups: ['Buyers'] };

export const EXTRA_CLAIMS = {
  'keycloak-shaped': {
    maria: KEYCLOAK,
    'an-id-token': { ...KEYCLOAK, typ: 'ID' },
    warehouse: {
      ...KEYCLOAK,
      azp: 'warehouse',
      groups: undefined,
      email: undefined,
      preferred_username: 'service-account-warehouse',
    },
  },
  'auth0-shaped': {
    maria: AUTH0,
    'permissions-in-an-object': { ...AUTH0, permissions: { 'read:orders': true } },
    warehouse: { azp: 'warehouse', gty: 'client-credentials', permissions: ['read:orders'] },
  },
  'okta-shaped': {
    maria: OKTA,
    'no-client': { ...OKTA, cid: undefined },
    warehouse: { ver: 1, cid: 'warehouse', scp: ['orders:read'] },
  },
  'own-names': {
    maria: MARIA,
    paul: {
      resource_access: { 'https://other.example.com': { roles: ['planner'] } },
      'https://acme.example/access_group': 'Orders:Viewer',
      scp: 'orders:read',
      person: { login: 'paul' },
    },
    warehouse: { 'https://acme.example/access_group': 'Orders:Service', scp: ['orders:read'] },
    // One thing in it is of another shape, each time another.
    'roles-in-an-object': { ...MARIA, resource_access: { 'https://api.example.com/own-names': { roles: {} } } },
    'access-group-null': { ...MARIA, 'https://acme.example/access_group': null },
    'group-without-value': { ...MARIA, memberships: [{ display: 'Orders EMEA' }] },
    'scope-among-numbers': { ...MARIA, scp: ['orders:read', 7] },
    'empty-login': { ...MARIA, person: { ...MARIA.person, login: '' } },
  },
  // Names of RFC 9068 §2.2.1 and §2.2.3.1; the latter and their shapes are those of SCIM (RFC 7643).
  standard: {
    maria: {
      roles: ['planner'],
      groups: [{ value: 'orders-emea', display: 'Orders EMEA' }],
      entitlements: ['orders.approve'],
      acr: 'urn:acme:two-factors',
      amr: ['pwd', 'otp'],
    },
    warehouse: { roles: ['exporter'], entitlements: 'orders.export' },
  },
  delegated: {
    maria: { act: actors(HELPDESK, { sub: 'gateway' }) },
    'four-actors': { act: actors(HELPDESK, { sub: 'b' }, { sub: 'c' }, { sub: 'd' }) },
    'five-actors': { act: actors(HELPDESK, { sub: 'b' }, { sub: 'c' }, { sub: 'd' }, { sub: 'e' }) },
    'actor-without-sub': { act: { client_id: 'desk-app' } },
    'actor-by-name': { act: 'helpdesk' },
  },
};

export const ACCOUNTS = new Set(Object.values(EXTRA_CLAIMS).flatMap((bySubject) => Object.keys(bySubject)));
