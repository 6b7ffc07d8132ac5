import java.io.FileReader;
import java.io.Reader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.util.Properties;
import java.util.TreeSet;

/** Connects to each database that airavata-server.properties names, as Airavata 0.17 does. Arguments: the file, the port on this
 *  machine that leads to the database, PEM of its authority. Prints key, database and cipher of each, with tabs between. */
class Databases {
    public static void main(String[] arguments) throws Exception {
        Properties found = new Properties();
        try (Reader file = new FileReader(arguments[0])) {
            found.load(file);
        }
        for (String key : new TreeSet<>(found.stringPropertyNames())) {
            if (!key.endsWith(".jdbc.url")) continue;
            String prefix = key.substring(0, key.length() - ".url".length());
            Class.forName(found.getProperty(prefix + ".driver"));
            String url = found.getProperty(key) + "?autoReconnect=true";
            url = url.replaceFirst(":\\d+/", ":" + arguments[1] + "/").replace("/etc/airavata/settings/ca.crt", arguments[2]);
            String user = found.getProperty(prefix + ".user"), password = found.getProperty(prefix + ".password");
            try (Connection connection = DriverManager.getConnection(url, user, password);
                    ResultSet row = connection.createStatement().executeQuery(
                            "SELECT DATABASE(), VARIABLE_VALUE FROM information_schema.SESSION_STATUS"
                                    + " WHERE VARIABLE_NAME = 'SSL_CIPHER'")) {
                row.next();
                System.out.println(key + "\t" + row.getString(1) + "\t" + row.getString(2));
            }
        }
    }
}
