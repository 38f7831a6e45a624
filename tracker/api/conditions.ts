// A precondition that a route cannot honour is refused. To ignore it would be to write what the client forbade.
import type { Server } from '../../services/http.ts';
import { Problem } from '../../services/problems.ts';

const CONDITIONS = ['if-match', 'if-none-match', 'if-unmodified-since'] as const;

/** Refuses writes with preconditions that their route's schema does not name. After authentication: that comes first. */
export function refuseUnreadConditions(server: Server): void {
  server.addHook('onRequest', (request, _reply, done) => {
    const { method, headers, routeOptions } = request;
    const given = CONDITIONS.filter((name) => headers[name] !== undefined);
    if (given.length === 0 || method === 'GET' || method === 'HEAD' || routeOptions.url === undefined) {
      return done();
    }
    const read = (routeOptions.schema?.headers as { properties?: object } | undefined)?.properties ?? {};
    const unread = given.find((name) => !(name in read));
    if (unread === undefined) return done();
    done(new Problem('invalid-request', `This request takes no ${unread}. Leave the header out.`));
  });
}
