// What the browser does with one workflow. `app` and `LiteGraph` are the front end's.
({
  // Loads the queue's form, gives every node the room it wants, and tells what there is to arrange.
  async load({api, name, sizes, own, heights}) {
    await app.loadApiJson(api, name + '.json');
    await new Promise(r => setTimeout(r, 500));
    for (const n of app.graph.nodes) {
      // The queue's form wraps a widget's list, which would else be a link.
      for (const w of n.widgets ?? []) {
        const given = api[n.id].inputs[w.name];
        if (given?.__value__) w.value = given.__value__;
      }
      const minimum = n.computeSize(), wanted = sizes[n.type] ?? [270, 0];
      const placed = own[n.id];
      const least = Math.max(minimum[1], wanted[1], heights[n.id] ?? 0);
      n.setSize(placed ?? [Math.max(minimum[0], wanted[0]), least]);
    }
    const nodes = app.graph.nodes.map(n => ({id: Number(n.id), type: n.type, size: [n.size[0], n.size[1]]}));
    const links = [...app.graph.links.values()].map(l => [Number(l.origin_id), Number(l.target_id)]);
    return {nodes, links};
  },

  // How high each node is in Nodes 2.0, its title not counted. Its text is larger than that of the canvas.
  async heights() {
    const element = n => document.querySelector(`[data-node-id="${n.id}"]`);
    const height = n => Math.ceil((element(n)?.getBoundingClientRect().height ?? 0) / app.canvas.ds.scale - 0.5);
    const all = () => Object.fromEntries(app.graph.nodes.map(n => [n.id, height(n) - LiteGraph.NODE_TITLE_HEIGHT]));
    for (let before = '', same = 0; same < 3;) {
      await new Promise(r => setTimeout(r, 300));
      const now = JSON.stringify(all());
      same = app.graph.nodes.every(element) && now === before ? same + 1 : 0;
      before = now;
    }
    return all();
  },

  // Puts nodes, note and frames in their places; returns the browser's form and the queue's form.
  async place({positions, collapsed, note, text, frames, version, hostVersion}) {
    const from = (n, pack, ver) => n.properties = {...n.properties, cnr_id: pack, ver};
    for (const n of app.graph.nodes) {
      n.pos = positions[n.id];
      if (collapsed.includes(Number(n.id))) n.flags.collapsed = true;
      const ours = n.type.startsWith('GSN');
      from(n, ours ? 'semantic-nursing' : 'comfy-core', ours ? version : hostVersion);
      n.properties['Node name for S&R'] = n.type;
      for (const w of n.widgets ?? []) if (w.name === 'control_after_generate') w.value = 'fixed';
    }
    const card = LiteGraph.createNode('MarkdownNote');
    app.graph.add(card);
    card.pos = [note.left, note.top];
    card.widgets[0].value = text;
    card.setSize([note.width, note.height]);
    from(card, 'comfy-core', hostVersion);
    for (const f of frames) {
      const group = new LiteGraph.LGraphGroup(f.title);
      group.pos = [f.left, f.top];
      group.size = [f.width, f.height];
      app.graph.add(group);
    }
    const graph = JSON.parse(JSON.stringify(app.graph.serialize()));
    delete graph.extra?.ds;  // without it the front end fits the view
    return {graph, output: (await app.graphToPrompt()).output};
  },

  // Runs it, so that its images are on its nodes.
  async run() {
    const done = new Promise((resolve, reject) => {
      const failed = e => reject(new Error(e.detail.exception_message));
      app.api.addEventListener('execution_success', resolve, {once: true});
      app.api.addEventListener('execution_error', failed, {once: true});
    });
    if (!await app.queuePrompt(0)) throw new Error('ComfyUI refuses to queue it: name only workflows whose models are here');
    await done;
    await new Promise(r => setTimeout(r, 2000));
  },

  // Moves the whole graph below the browser's own bars; returns the rectangle it takes.
  async show() {
    const around = (b, n) => [
      Math.min(b[0], n.pos[0]), Math.min(b[1], n.pos[1]),
      Math.max(b[2], n.pos[0] + n.size[0]), Math.max(b[3], n.pos[1] + n.size[1])];
    const b = app.graph.groups.reduce(around, [1e9, 1e9, -1e9, -1e9]);
    const room = [innerWidth - 160, innerHeight - 240];
    const s = app.canvas.ds.scale = Math.min(room[0] / (b[2] - b[0]), room[1] / (b[3] - b[1]));
    app.canvas.ds.offset = [100 / s - b[0], 160 / s - b[1]];
    app.graph.nodes.forEach(n => n.has_errors = false);
    app.canvas.setDirty(true, true);
    await new Promise(r => setTimeout(r, 1000));
    return {x: 80, y: 140, width: (b[2] - b[0]) * s + 40, height: (b[3] - b[1]) * s + 40};
  },
})
