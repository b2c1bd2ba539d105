// The service's events. All tabs of a browser share one connection: a browser has six for a host, and events hold one.
//
// The tab that holds the lock listens and tells the others. Where there are no locks (plain HTTP from another machine), each
// tab listens while it is seen, and goes on where it stopped when it is seen again.

/** An event of the service, or how the connection stands. */
export type Told =
  | { kind: 'event'; name: string; data: unknown; id: number | null }
  | { kind: 'status'; open: boolean; retryAt: number | null }
  | { kind: 'hello' }
  | { kind: 'retry' };

const NAMES = ['job', 'cancel', 'order', 'image', 'image_changed', 'image_gone', 'queue', 'gap', 'progress'];
const LOCK = 'latent-events';
/** Waits between tries, in milliseconds; the last one is repeated. */
const WAITS = [250, 1000, 2000, 4000];

export class Source {
  private tell: (told: Told) => void;
  private address: () => string;
  private channel: BroadcastChannel | null = null;
  private events: EventSource | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private last: number | null = null;
  private tries = 0;
  private leads = false;
  private status: Told = { kind: 'status', open: false, retryAt: null };
  private progress: Told | null = null;

  /** Tells everything to `tell`; listens at `address`. */
  constructor(tell: (told: Told) => void, address: () => string) {
    this.tell = tell;
    this.address = address;
  }

  start(): void {
    if (navigator.locks && typeof BroadcastChannel === 'function') {
      this.channel = new BroadcastChannel(LOCK);
      this.channel.onmessage = (message: MessageEvent<Told>) => this.heard(message.data);
      this.channel.postMessage({ kind: 'hello' } satisfies Told);
      void navigator.locks.request(LOCK, () => {
        this.leads = true;
        this.connect();
        return new Promise(() => {});
      });
      return;
    }
    this.leads = true;
    const seen = () => (document.hidden ? this.close() : this.connect());
    document.addEventListener('visibilitychange', seen);
    seen();
  }

  /** Whether this tab is the one that listens. */
  get leading(): boolean {
    return this.leads;
  }

  /** Tries again now. */
  retry(): void {
    if (!this.leads) this.channel?.postMessage({ kind: 'retry' } satisfies Told);
    else if (!this.events) this.connect();
  }

  /** Listens anew, at what the address is now. */
  again(): void {
    if (!this.leads || !this.events) return;
    this.close();
    this.connect();
  }

  private heard(told: Told): void {
    if (told.kind === 'hello') {
      if (!this.leads) return;
      this.channel?.postMessage(this.status);
      if (this.progress) this.channel?.postMessage(this.progress);
      return;
    }
    if (told.kind === 'retry') return this.retry();
    if (told.kind === 'event' && told.id !== null) this.last = told.id;
    this.tell(told);
  }

  private say(told: Told): void {
    if (told.kind === 'status') this.status = told;
    if (told.kind === 'event' && told.name === 'progress') this.progress = told;
    this.channel?.postMessage(told);
    this.tell(told);
  }

  private close(): void {
    clearTimeout(this.timer);
    this.events?.close();
    this.events = null;
  }

  private connect(): void {
    this.close();
    const from = this.address();
    const after = this.last === null ? '' : (from.includes('?') ? '&' : '?') + `after=${this.last}`;
    const events = new EventSource(from + after);
    this.events = events;
    events.onopen = () => {
      this.tries = 0;
      this.say({ kind: 'status', open: true, retryAt: null });
    };
    events.onerror = () => {
      this.close();
      const wait = WAITS[Math.min(this.tries, WAITS.length - 1)];
      this.tries += 1;
      this.say({ kind: 'status', open: false, retryAt: Date.now() + wait });
      this.timer = setTimeout(() => this.connect(), wait);
    };
    for (const name of NAMES) {
      events.addEventListener(name, (event: MessageEvent<string>) => {
        const id = event.lastEventId === '' ? null : Number(event.lastEventId);
        if (id !== null) this.last = id;
        this.say({ kind: 'event', name, data: JSON.parse(event.data), id: name === 'progress' ? null : id });
      });
    }
  }
}
