// Node-RED with one pool of connections to PostgreSQL, which the flow's function uses.
const { Pool } = require(process.env.RIVAL_MODULES + "/pg");

module.exports = {
    flowFile: "flow.json",
    uiHost: "127.0.0.1",
    uiPort: Number(process.env.RIVAL_UI_PORT),
    disableEditor: true,
    logging: { console: { level: "warn" } },
    functionGlobalContext: {
        pool: new Pool({ connectionString: process.env.RIVAL_DATABASE, max: 10 }),
    },
};
