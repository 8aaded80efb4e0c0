// Search for pages that are opened from disk, where browsers start no worker: the worker's script
// runs in a hidden frame, and messages go to and fro as calls.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.appendChild(frame);
      this.inner = frame.contentWindow;
      this.inner.document.open();
      this.inner.document.write("<!doctype html><body></body>");
      this.inner.document.close();
      this.inner.postMessage = data => this.tell(this, data);
      this.inner.importScripts = (...urls) =>
        urls.reduce((before, one) => before.then(() => this.load(one)), Promise.resolve());
      this.ready = this.load(url);
    }
    load(url) {
      return new Promise((resolve, reject) => {
        const script = this.inner.document.createElement("script");
        script.src = url;
        script.onload = resolve;
        script.onerror = reject;
        this.inner.document.body.appendChild(script);
      });
    }
    tell(target, data) {
      setTimeout(() => target.dispatchEvent(new MessageEvent("message", { data })));
    }
    postMessage(data) {
      this.ready.then(() => this.tell(this.inner, data));
    }
    terminate() {}
  };
}
