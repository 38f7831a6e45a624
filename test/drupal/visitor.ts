// A visitor who speaks plain HTTP: logs in with a form, and keeps cookies.
export class Visitor {
  #cookie = '';
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  /** Logs in; the answer to the form, which is 303 if that worked. */
  async logIn(name: string, password = name): Promise<Response> {
    const form = await (await this.get('/user/login')).text();
    const id = /name="form_build_id" value="([^"]+)"/.exec(form)?.[1] ?? '';
    const body = new URLSearchParams({
      name,
      pass: password,
      form_build_id: id,
      form_id: 'user_login_form',
      op: 'Log in',
    });
    const answer = await fetch(`${this.#url}/user/login`, { method: 'POST', body, redirect: 'manual' });
    this.#cookie = answer.headers
      .getSetCookie()
      .map((cookie) => cookie.split(';')[0])
      .join('; ');
    return answer;
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Response> {
    const cookie: Record<string, string> = this.#cookie ? { cookie: this.#cookie } : {};
    return fetch(this.#url + path, { headers: { ...cookie, ...headers }, redirect: 'manual' });
  }

  async status(path: string): Promise<number> {
    return (await this.get(path)).status;
  }
}
