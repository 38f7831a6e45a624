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

  /** Fills in the form at `path`: `fields` beside what it hides in itself. */
  async submit(path: string, formId: string, fields: Record<string, string | File>): Promise<Response> {
    const page = await (await this.get(path)).text();
    const form = page.split('<form').find((part) => part.includes(`name="form_id" value="${formId}"`)) ?? '';
    const body = new FormData();
    for (const [input] of form.matchAll(/<input[^>]*type="hidden"[^>]*>/g)) {
      const name = /name="([^"]+)"/.exec(input)?.[1];
      if (name !== undefined) body.append(name, /value="([^"]*)"/.exec(input)?.[1] ?? '');
    }
    for (const [name, value] of Object.entries(fields)) body.append(name, value);
    const headers = { cookie: this.#cookie };
    return fetch(this.#url + path, { method: 'POST', body, headers, redirect: 'manual' });
  }

  async status(path: string): Promise<number> {
    return (await this.get(path)).status;
  }
}
