// What tests and the tour do in the page. `app` and `LiteGraph` are the front end's.
window.gsnPage = (() => {
  const pause = ms => new Promise(resolve => setTimeout(resolve, ms));
  const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const TYPES = {json: 'application/json', png: 'image/png'};
  let heard = [];
  for (const name of ['progress_text', 'executed', 'execution_cached', 'execution_error'])
    app.api.addEventListener(name, event => heard.push([name, event.detail]));

  const PATIENCE = 600000;  // milliseconds until a run that says nothing counts as lost
  const ended = () => new Promise(resolve => {
    for (const name of ['execution_success', 'execution_error', 'execution_interrupted'])
      app.api.addEventListener(name, event => resolve({end: name, error: event.detail}), {once: true});
    setTimeout(() => resolve({end: 'no end in ten minutes'}), PATIENCE);
  });
  const all = graph => graph.nodes.flatMap(n => [n, ...(n.isSubgraphNode?.() ? all(n.subgraph) : [])]);

  return {
    async drop(name, content) {
      const file = new File([bytes(content)], name, {type: TYPES[name.split('.').pop()]});
      await app.handleFile(file);
      await pause(50);
    },

    async prompt() {
      return (await app.graphToPrompt()).output;
    },

    async run() {
      this.listen();
      if (!await app.queuePrompt(0)) return {end: 'refused', lines: {}, every: [], cached: []};
      return this.heard();
    },

    // Begins to note what is said of the next run; `heard` waits for its end.
    listen() {
      heard = [];
      this.end = ended();
    },

    async heard() {
      const result = await this.end;
      const of = name => heard.filter(([kind]) => kind === name).map(([, detail]) => detail);
      const withPictures = of('executed').filter(d => d.output?.images?.length).map(d => app.graph.getNodeById(d.node));
      for (let tries = 0; tries < 50 && withPictures.some(n => n && !n.imgs?.length); tries++) await pause(100);
      return {
        ...result,
        lines: Object.fromEntries(of('progress_text').map(d => [d.nodeId, d.text])),
        every: of('progress_text').map(d => [d.nodeId, d.text]),
        cached: of('execution_cached').flatMap(d => d.nodes),
      };
    },

    set(id, values) {
      const node = app.graph.getNodeById(id);
      for (const [name, value] of Object.entries(values)) {
        const widget = node.widgets.find(w => w.name === name);
        if (!widget) throw new Error(`${node.type} has no ${name}`);
        widget.value = value;
      }
    },

    options(id, name) {
      return app.graph.getNodeById(id).widgets.find(w => w.name === name).options.values;
    },

    // Begins a run; returns when a node says that its updates have begun.
    async begin() {
      this.end = ended();
      const begun = new Promise(resolve => app.api.addEventListener('progress_text', event => {
        if (/update step/.test(event.detail.text)) resolve();
      }));
      await app.queuePrompt(0);
      await begun;
    },

    finished() {
      return this.end;
    },

    // The nodes of these types become a subgraph.
    toSubgraph(types) {
      const chosen = new Set(app.graph.nodes.filter(n => types.includes(n.type)));
      app.graph.convertToSubgraph(chosen);
    },

    lines() {
      const found = all(app.graph).map(n => [n.id, n.widgets?.find(w => w.name === '$$node-text-preview')?.value]);
      return Object.fromEntries(found.filter(([, text]) => text));
    },

    // Nodes with their rectangles in the graph, as they are drawn; pictures: how many are on it.
    nodes() {
      return app.graph.nodes.map(n => {
        const title = LiteGraph.NODE_TITLE_HEIGHT;
        const collapsed = !!n.flags.collapsed;
        const element = document.querySelector(`[data-node-id="${n.id}"]`);
        let [width, height] = [n.size[0], n.size[1] + title];
        if (element && LiteGraph.vueNodesMode) {
          const rect = element.getBoundingClientRect();
          [width, height] = [rect.width / app.canvas.ds.scale, rect.height / app.canvas.ds.scale];
        } else if (collapsed) [width, height] = [n._collapsed_width ?? 120, title];
        return {id: String(n.id), type: n.type, title: n.title, collapsed, pictures: n.imgs?.length ?? 0,
                left: n.pos[0], top: n.pos[1] - title, right: n.pos[0] + width, bottom: n.pos[1] - title + height};
      });
    },

    // [title, whether its picture is there] of the first cards of templates in the dialog.
    async cards(number) {
      const dialog = document.querySelector('[role=dialog]');
      const pictures = () => [...dialog.querySelectorAll('img')].filter(e => e.src.startsWith('blob:'));
      const shown = () => pictures().length >= number && pictures().slice(0, number).every(e => e.naturalWidth);
      for (let tries = 0; tries < 100 && !shown(); tries++) await pause(200);
      const lines = dialog.innerText.split('\n').filter(line => /^\d\d /.test(line));
      const titles = lines.filter((_, i) => i % 2 === 0);  // each has its description below, the same words
      return titles.slice(0, number).map((title, i) => [title, pictures()[i]?.naturalWidth > 0]);
    },

    // The view and the nodes do not move any more.
    async atRest() {
      let before = '';
      for (let tries = 0; tries < 50; tries++) {
        const now = JSON.stringify([this.nodes(), this.view()]);
        if (now === before) return;
        before = now;
        await pause(300);
      }
    },

    async settled() {
      let before = '';
      for (let tries = 0; tries < 100; tries++) {
        const nodes = this.nodes(), now = JSON.stringify(nodes);
        const drawn = app.graph.nodes.every(n => document.querySelector(`[data-node-id="${n.id}"]`));
        if (drawn && now === before) return nodes;
        before = now;
        await pause(200);
      }
      throw new Error('the nodes never come to rest');
    },

    // The file behind the open tab.
    tab() {
      return app.extensionManager.workflow.activeWorkflow.path;
    },

    // Where on the page a place of the graph is seen.
    seen(x, y) {
      const {scale, offset} = app.canvas.ds, rect = app.canvas.canvas.getBoundingClientRect();
      return [rect.left + (x + offset[0]) * scale, rect.top + (y + offset[1]) * scale];
    },

    // The n-th node of a type, from the top.
    nth(kind, n) {
      return app.graph.nodes.filter(node => node.type === kind).sort((a, b) => a.pos[1] - b.pos[1])[n];
    },

    titleOf(kind, n) {
      const node = this.nth(kind, n);
      return this.seen(node.pos[0] + 60, node.pos[1] - LiteGraph.NODE_TITLE_HEIGHT / 2);
    },

    slotOf(kind, n, side, name) {
      const node = this.nth(kind, n), i = node[side].findIndex(slot => slot.name === name);
      if (i < 0) throw new Error(`${kind} has no ${name}: ${node[side].map(slot => slot.name)}`);
      return this.seen(...(side === 'inputs' ? node.getInputPos(i) : node.getOutputPos(i)));
    },

    widgetOf(kind, n, name) {
      const node = this.nth(kind, n), widget = node.widgets.find(w => w.name === name);
      return this.seen(node.pos[0] + node.size[0] / 2, node.pos[1] + widget.y + 10);
    },

    links() {
      return [...app.graph.links.values()].map(l => [l.origin_id, l.origin_slot, l.target_id, l.target_slot].join());
    },

    view() {
      const {scale, offset} = app.canvas.ds, canvas = app.canvas.canvas.getBoundingClientRect();
      return {scale, left: -offset[0], top: -offset[1],
              right: -offset[0] + canvas.width / scale, bottom: -offset[1] + canvas.height / scale};
    },
  };
})();
